"""Files of the stages: whole or absent, the same bytes for the same data, and no damage unseen."""

import datetime
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diffuselm.errors import InputError
from diffuselm.files import contracts
from diffuselm.files.contracts import (
    read_table,
    write_rows,
    write_table,
    written_folder,
    written_whole,
)

PACKAGE = Path(contracts.__file__).parents[2]
SCHEMAS = {name: value for name, value in vars(contracts).items() if isinstance(value, pa.Schema)}
# Writes `old` or `new` to the path given, says so, and ends or dies as standard input tells.
WRITER = """
import os, signal, sys
from pathlib import Path
from diffuselm.files.contracts import written_folder, written_whole

kind, path = sys.argv[1], Path(sys.argv[2])
with (written_folder if kind == "folder" else written_whole)(path) as part:
    (part / "file" if kind == "folder" else part).write_text("theirs")
    print("writing", flush=True)
    if sys.stdin.readline() != "finish\\n":
        os.kill(os.getpid(), signal.SIGKILL)
"""


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


def with_spoilt_label(raw):
    """The file as readers see it who know no seal."""
    return contracts.SEAL.upper().join(raw.rsplit(contracts.SEAL, 1))


def footer_start(raw):
    return len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")


def without_footer_start(raw):
    """Of this, Arrow complains in several lines."""
    raw, start = with_spoilt_label(raw), footer_start(raw)
    return raw[:start] + b"\xff" * 8 + raw[start + 8 :]


def outcome(path, raw, schema, table):
    """What reading the damaged bytes comes to; anything but these two is raised or returned."""
    path.write_bytes(raw)
    try:
        found = read_table(path, schema)
    except InputError as error:
        one_line = str(error).startswith(f"{path}: ") and len(str(error).splitlines()) == 1
        return "refused" if one_line else str(error)
    return "the same" if found.equals(table) else "other data"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def left_beside(path):
    return [name for name in names(path.parent) if name.startswith(".")]


def writer(kind, path):
    started = subprocess.Popen(
        [sys.executable, "-c", WRITER, kind, str(path)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout.readline() == "writing\n"
    return started


def test_a_table_comes_back_as_it_was_written(written):
    path, schema, table = written
    found = read_table(path, schema)
    assert found.equals(table, check_metadata=True)
    assert pq.read_table(path).equals(table)


def test_text_like_a_seal_is_only_text(tmp_path):
    path, schema = tmp_path / "a.parquet", contracts.TARGETS
    texts = [contracts.SEAL.decode() + "0" * length for length in (0, 64, 65)]
    listed = [{"prompt": text, "text": text, "weight": 1.0} for text in texts]
    write_rows(path, listed, schema)
    assert read_table(path, schema).to_pylist() == listed


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


def test_no_bit_of_the_footer_can_flip_unseen(tmp_path):
    path, schema = tmp_path / "a.parquet", contracts.TEXT
    write_rows(path, rows(schema), schema)
    raw, table = path.read_bytes(), read_table(path, schema)
    bits = range(8 * footer_start(raw), 8 * len(raw), 3)
    found = {outcome(path, flipped(raw, bit), schema, table) for bit in bits}
    assert found == {"refused", "the same"}


def test_the_only_flips_that_pass_are_in_the_seal_s_label(tmp_path):
    path, schema = tmp_path / "a.parquet", contracts.TARGETS
    write_rows(path, rows(schema), schema)
    raw, table = path.read_bytes(), read_table(path, schema)
    label = raw.rindex(contracts.SEAL)
    passed = {
        bit // 8
        for bit in range(0, 8 * len(raw), 11)
        if outcome(path, flipped(raw, bit), schema, table) == "the same"
    }
    assert passed <= set(range(label, label + len(contracts.SEAL)))


def test_each_page_has_a_checksum_of_its_own(written):
    """For readers that know no seal, as here."""
    path, schema, table = written
    raw = with_spoilt_label(path.read_bytes())
    metadata = pq.read_metadata(path).row_group(0)
    for number in range(metadata.num_columns):
        column = metadata.column(number)
        last = column.data_page_offset
        last += column.total_compressed_size - (last - (column.dictionary_page_offset or last))
        assert outcome(path, flipped(raw, 8 * (last - 1)), schema, table) == "refused", number


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
        lambda raw: with_spoilt_label(raw).replace(b"logprob", b"logpr\xffb"),
        without_footer_start,
    ],
)
def test_other_damage_is_refused_and_the_file_named(tmp_path, damage):
    path, schema = tmp_path / "a.parquet", contracts.SAMPLES
    write_rows(path, rows(schema), schema)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"is damaged or not Parquet .*; delete it and run again$"):
        read_table(path, schema)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "none.parquet", tmp_path):
        with pytest.raises(InputError, match=f"^{path}: .*; expected a Parquet file$"):
            read_table(path, contracts.NATURAL)


def test_files_of_other_programs_are_read(tmp_path):
    table = pa.Table.from_pylist(rows(contracts.TARGETS), schema=contracts.TARGETS)
    table.to_pandas().to_parquet(tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet", contracts.TARGETS).equals(table)


@pytest.mark.parametrize("column", [pa.array(["a"]), pa.array([[1.0]]), pa.array([b"\xff"])])
def test_other_types_of_other_programs_are_refused(tmp_path, column):
    names = contracts.TEXT.names
    pq.write_table(pa.table([column] * 3, names=names), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"columns are .*, expected ") as caught:
        read_table(tmp_path / "a.parquet", contracts.TEXT)
    assert len(str(caught.value).splitlines()) == 1


def test_text_that_is_not_utf_8_is_refused(tmp_path):
    text = pa.array([b"\xff"]).view(pa.string())
    table = pa.table([text, text, pa.array([1.0])], schema=contracts.TARGETS)
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="is damaged or not Parquet"):
        read_table(tmp_path / "a.parquet", contracts.TARGETS)


def test_other_columns_are_one_line(tmp_path):
    write_rows(tmp_path / "a.parquet", rows(contracts.TEXT), contracts.TEXT)
    with pytest.raises(InputError, match=r"columns are .*, expected ") as caught:
        read_table(tmp_path / "a.parquet", contracts.TARGETS)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path, kind):
    path = tmp_path / "a[1].x"
    killed = writer(kind, path)
    killed.communicate("die\n")
    assert killed.returncode == -signal.SIGKILL
    assert not path.exists()
    assert len(left_beside(path)) == 1
    (tmp_path / ".a[1].x.early.part").mkdir()  # killed before it made its lock
    with written_whole(tmp_path / "a1.x") as part:
        part.write_text("of another name")
    assert len(left_beside(path)) == 2
    with written_whole(path) as part:
        part.write_text("ours")
    assert path.read_text() == "ours"
    assert not left_beside(path)


def test_a_file_goes_with_what_a_killed_writer_left_of_it(tmp_path):
    path = tmp_path / "a"
    path.write_text("whole")
    writer("file", path).communicate("die\n")
    assert len(left_beside(path)) == 1
    contracts.remove(path)
    assert not path.exists()
    assert not left_beside(path)
    contracts.remove(path)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_part_of_a_live_writer_stays(tmp_path, kind):
    path = tmp_path / "a"
    with writer(kind, path) as live:
        with (written_folder if kind == "folder" else written_whole)(path) as part:
            (part / "file" if kind == "folder" else part).write_text("ours")
            assert len(left_beside(path)) == 2
        live.communicate("finish\n")
    assert live.returncode == 0
    assert (path / "file" if kind == "folder" else path).read_text() == "theirs"
    assert not left_beside(path)
