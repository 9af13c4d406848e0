"""Parquet files of the stages: the same bytes for the same data, and no damage unseen."""

import datetime
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diffuselm.errors import InputError
from diffuselm.files import schemas
from diffuselm.files.schemas import NATURAL, SAMPLES, TARGETS, TEXT
from diffuselm.files.tables import read_table, write_rows, write_table

SCHEMAS = {name: value for name, value in vars(schemas).items() if isinstance(value, pa.Schema)}


def rows(schema, count=40):
    rng = random.Random(0)
    texts = ("names/english", "{Zoë}", "a b", "", "東京", "0" * 70)
    of_type = {
        pa.string(): lambda: rng.choice(texts),
        pa.int64(): lambda: rng.randrange(10**6),
        pa.float64(): rng.random,
        pa.bool_(): lambda: rng.random() < 0.5,
        pa.date32(): lambda: datetime.date(1900 + rng.randrange(100), 1, 2),
    }
    return [
        {field.name: None if rng.random() < 0.1 else of_type[field.type]() for field in schema}
        for _ in range(count)
    ]


@pytest.fixture(params=SCHEMAS)
def written(request, tmp_path):
    """A file of each schema, its schema, and its table."""
    schema = SCHEMAS[request.param]
    write_rows(tmp_path / "a.parquet", rows(schema), schema)
    return tmp_path / "a.parquet", schema, pa.Table.from_pylist(rows(schema), schema=schema)


def flipped(raw, bit):
    damaged = bytearray(raw)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def footer_start(raw):
    return len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")


def outcome(path, raw, schema, table):
    """What reading the damaged bytes comes to; anything but these two is raised or returned."""
    path.write_bytes(raw)
    try:
        found = read_table(path, schema)
    except InputError as error:
        one_line = str(error).startswith(f"{path}: ") and len(str(error).splitlines()) == 1
        return "refused" if one_line else str(error)
    return "the same" if found.equals(table) else "other data"


def test_a_table_comes_back_as_it_was_written(written):
    path, schema, table = written
    found = read_table(path, schema)
    assert found.equals(table, check_metadata=True)
    assert pq.read_table(path).equals(table)


def test_the_same_data_is_the_same_bytes_however_it_is_chunked(written):
    path, schema, table = written
    other = path.with_name("other.parquet")
    write_table(other, pa.concat_tables([table[:7], table[7:30], table[30:]]), schema)
    assert other.read_bytes() == path.read_bytes()


def test_a_flipped_bit_is_refused_or_changes_nothing(written):
    path, schema, table = written
    raw = path.read_bytes()
    rng = random.Random(1)
    bits = [rng.randrange(8 * len(raw)) for _ in range(400)]
    found = {outcome(path, flipped(raw, bit), schema, table) for bit in bits}
    assert found <= {"refused", "the same"}


def test_no_bit_of_the_footer_can_flip_to_other_data(tmp_path):
    """The footer has no checksum: what flips there breaks it, or is only a description."""
    path = tmp_path / "a.parquet"
    write_rows(path, rows(TEXT), TEXT)
    raw, table = path.read_bytes(), read_table(path, TEXT)
    bits = range(8 * footer_start(raw), 8 * len(raw))
    found = {outcome(path, flipped(raw, bit), TEXT, table) for bit in bits}
    assert found == {"refused", "the same"}


def test_a_flip_in_the_data_of_any_column_is_refused(written):
    path, schema, table = written
    raw = path.read_bytes()
    metadata = pq.read_metadata(path).row_group(0)
    for number in range(metadata.num_columns):
        column = metadata.column(number)
        start = min(column.data_page_offset, column.dictionary_page_offset or 2**63)
        last = start + column.total_compressed_size - 1
        assert outcome(path, flipped(raw, 8 * last), schema, table) == "refused", number


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: b"",
        lambda raw: b"PAR1",
        lambda raw: raw[:-1],
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw + b"\n",
        lambda raw: raw[:100] + bytes(100) + raw[200:],
        lambda raw: raw[:-200] + bytes(200),
        lambda raw: b"prompt,text\r\n",
        lambda raw: raw.replace(b"logprob", b"logpr\xffb"),
        # Of this, Arrow complains in several lines.
        lambda raw: raw[: footer_start(raw)] + b"\xff" * 8 + raw[footer_start(raw) + 8 :],
    ],
)
def test_other_damage_is_refused_and_the_file_named(tmp_path, damage):
    path = tmp_path / "a.parquet"
    write_rows(path, rows(SAMPLES), SAMPLES)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"is damaged or not Parquet .*; delete it and run again$"):
        read_table(path, SAMPLES)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "none.parquet", tmp_path):
        with pytest.raises(InputError, match=f"^{path}: .*; expected a Parquet file$"):
            read_table(path, NATURAL)


def test_files_of_other_programs_are_read(tmp_path):
    table = pa.Table.from_pylist(rows(TARGETS), schema=TARGETS)
    table.to_pandas().to_parquet(tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet", TARGETS).equals(table)


def test_text_that_is_not_utf_8_is_refused(tmp_path):
    text = pa.array([b"\xff"]).view(pa.string())
    pq.write_table(pa.table([text, text, pa.array([1.0])], schema=TARGETS), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="is damaged or not Parquet"):
        read_table(tmp_path / "a.parquet", TARGETS)


@pytest.mark.parametrize(
    "table",
    [
        *(
            pa.table([column] * 3, names=TARGETS.names)
            for column in (pa.array(["a"]), pa.array([[1.0]]), pa.array([b"\xff"]))
        ),
        TEXT.empty_table(),
    ],
)
def test_other_columns_and_types_are_one_line(tmp_path, table):
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"columns are .*, expected ") as caught:
        read_table(tmp_path / "a.parquet", TARGETS)
    assert len(str(caught.value).splitlines()) == 1
