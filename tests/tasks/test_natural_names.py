"""The natural distribution of names: what each source yields, and what each refuses."""

import hashlib
import io
import math
import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from diffuselm.config.names import NamesSettings
from diffuselm.errors import InputError
from diffuselm.files.json_files import read_json
from diffuselm.files.schemas import NATURAL
from diffuselm.files.tables import read_table
from diffuselm.tasks import ssa
from diffuselm.tasks.natural_names import (
    counted,
    draw_names,
    draw_reference,
    from_ssa,
    parse_births,
    write_natural,
)
from loopback import endpoint

SMALL = b"Olivia,F,60\r\nRiver,F,20\r\nAda,F,5\r\nLiam,M,70\r\nRiver,M,45\r\n"
Members = list[tuple[str, bytes]]


def zipped(members: Members) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def like_ssa(births_of_2022: bytes) -> Members:
    return [
        ("yob1880.txt", b"Mary,F,7065\r\nJohn,M,9655\r\n"),
        ("yob2022.txt", births_of_2022),
        ("NationalReadMe.pdf", b"%PDF-1.4 readme"),
    ]


GOOD = zipped(like_ssa(SMALL))


@pytest.fixture(scope="module")
def births_of_2022() -> bytes:
    folder = os.environ.get("DIFFUSELM_TEST_DATA")
    if folder is None:
        pytest.skip("DIFFUSELM_TEST_DATA is not set: no folder with the SSA's yob2022.txt")
    return (Path(folder) / "yob2022.txt").read_bytes()


@contextmanager
def site(body: bytes) -> Iterator[tuple[str, list[dict]]]:
    """A server on the loopback that, as the SSA's, refuses clients that are no browser."""

    def answer(_: int, call: dict) -> tuple[int, bytes]:
        browser = call["headers"].get("User-Agent", "").startswith("Mozilla/5.0 (")
        return (200, body) if browser else (403, b"")

    with endpoint(answer) as (url, calls):
        yield f"{url}/names.zip", calls


def refused(body: bytes, folder: Path, expected: str) -> int:
    """Check that a download fails in one clear line and leaves nothing; return the requests."""
    with site(body) as (url, calls):
        with pytest.raises(InputError, match=expected) as caught:
            from_ssa(url, folder / "names.zip", 2022)
        assert str(caught.value).startswith(url)
    assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == []
    return len(calls)


def coverage_and_entropy(draws: list[str]) -> tuple[int, float]:
    counts = Counter(draws).values()
    return len(counts), -sum(c / len(draws) * math.log(c / len(draws)) for c in counts)


# The three sources


def test_ssa_pools_both_sexes_sorts_and_keeps_the_archive(tmp_path: Path) -> None:
    archive = tmp_path / "kept" / "names.zip"
    with site(GOOD) as (url, _):
        table, label = from_ssa(url, archive, 2022)
        earlier, _ = from_ssa(url, archive, 1880)
    assert table.to_pylist() == [
        {"name": "Liam", "count": 70, "probability": 0.35},
        {"name": "River", "count": 65, "probability": 0.325},
        {"name": "Olivia", "count": 60, "probability": 0.3},
        {"name": "Ada", "count": 5, "probability": 0.025},
    ]
    assert earlier["name"].to_pylist() == ["John", "Mary"]
    assert archive.read_bytes() == GOOD
    assert label.startswith("US Social Security Administration, births of 2022 (names.zip, ")
    assert hashlib.sha256(GOOD).hexdigest() in label
    assert [path.name for path in tmp_path.rglob("*")] == ["kept", "names.zip"]


def written(folder: Path, **settings: object) -> tuple[pa.Table, str]:
    """What the stage writes into an empty folder: the table, and the label of its run.json."""
    out = folder / "natural.parquet"
    write_natural(names=NamesSettings(**settings), archive=folder / "names.zip", out=out)
    assert sorted(path.name for path in folder.iterdir()) == ["natural.parquet", "run.json"]
    record = read_json(folder / "run.json")
    assert record["source"] == settings["source"]
    assert record["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    return read_table(out, NATURAL), record["label"]


def test_a_local_archive_and_its_year_file_give_the_same_table(tmp_path: Path) -> None:
    tables = []
    for name, data in (("names.zip", GOOD), ("yob2022.txt", SMALL)):
        (tmp_path / name).write_bytes(data)
        table, label = written(tmp_path / f"of-{name}", source="file", file=tmp_path / name)
        assert label.startswith(f"{name}, births of 2022 (")
        assert hashlib.sha256(data).hexdigest() in label
        tables.append(table)
    assert tables[0].equals(tables[1])


def test_embedded_gives_each_sex_half_and_says_what_it_is(tmp_path: Path) -> None:
    import faker
    from faker.providers.person.en_US import Provider

    table, label = written(tmp_path / "new", source="embedded")
    assert label == f"Faker {faker.VERSION} en_US first-name frequencies (embedded)"
    rows = table.to_pylist()
    women, men = Provider.first_names_female, Provider.first_names_male
    assert {row["name"] for row in rows} == women.keys() | men.keys()
    assert math.fsum(row["probability"] for row in rows) == pytest.approx(1, abs=1e-14)
    only_women = math.fsum(row["probability"] for row in rows if row["name"] not in men)
    expected = 0.5 * sum(w for n, w in women.items() if n not in men) / sum(women.values())
    assert only_women == pytest.approx(expected)
    assert 0 < only_women < 0.5
    assert all(row["count"] == round(1e6 * row["probability"]) for row in rows)
    assert rows == sorted(rows, key=lambda row: (-row["count"], row["name"]))


def test_births_of_2022_have_the_known_size_and_entropy(
    births_of_2022: bytes, tmp_path: Path
) -> None:
    with site(zipped(like_ssa(births_of_2022))) as (url, _):
        natural, _ = from_ssa(url, tmp_path / "names.zip", 2022)
    p = natural["probability"].to_numpy()
    assert natural.num_rows == 29_279
    assert sum(natural["count"].to_pylist()) == 3_378_611
    assert p.sum() == pytest.approx(1, abs=1e-12)
    assert -(p * np.log(p)).sum() == pytest.approx(8.0480, abs=5e-5)


def test_a_reference_of_1000_draws_lands_on_table_4(births_of_2022: bytes) -> None:
    natural = counted(parse_births(births_of_2022, "yob2022.txt"))
    found = np.array(
        [coverage_and_entropy(draw_reference(natural, 1000, seed)) for seed in range(40)]
    )
    mean, one, error = found.mean(0), found[0], np.array([12.8, 0.027])
    assert (abs(mean - [723.5, 6.436]) < 4 * error / math.sqrt(40)).all()
    assert (abs(one - [723.5, 6.436]) < 4 * error).all()
    assert (abs(one - [714, 6.43]) < 4 * error).all()  # the paper's own draw
    expected = (1 - (1 - natural["probability"].to_numpy()) ** 1000).sum()
    assert abs(mean[0] - expected) < 4 * 12.8 / math.sqrt(40)


# Drawing


def test_drawn_names_are_distinct_and_those_of_the_seed() -> None:
    natural = counted({f"N{i}": 1 for i in range(50)})
    drawn = draw_names(natural, 20, 1)
    assert len(set(drawn)) == 20
    assert set(drawn) <= set(natural["name"].to_pylist())
    assert draw_names(natural, 20, 1) == drawn
    assert draw_names(natural, 20, 2) != drawn


def test_names_are_drawn_as_repeated_draws_give_them() -> None:
    natural, draws = counted({"A": 6, "B": 3, "C": 1}), 4000
    p = dict(zip(natural["name"].to_pylist(), natural["probability"].to_pylist(), strict=True))
    pairs = [tuple(draw_names(natural, 2, seed)) for seed in range(draws)]
    # The first, then the second among those left.
    expected = {(x, y): p[x] * p[y] / (1 - p[x]) for x in p for y in p if x != y}
    counts = [pairs.count(pair) for pair in expected]
    assert stats.chisquare(counts, [draws * q for q in expected.values()]).pvalue > 1e-3


@pytest.mark.parametrize("probabilities", [[0.5, 0.5, 0], [1.5, -1, 0.5], [0.5, 0.5, math.nan]])
def test_names_are_not_drawn_from_too_few_or_what_is_no_distribution(probabilities) -> None:
    table = pa.table([["A", "B", "C"], [1, 1, 1], probabilities], schema=NATURAL)
    with pytest.raises(InputError, match=r"3 names .*; expected 3 or more"):
        draw_names(table, 3, 0)


def test_a_reference_depends_on_its_seed_alone_and_follows_the_probabilities() -> None:
    natural = counted({"Liam": 700, "Ada": 250, "River": 50})
    draws = draw_reference(natural, 20_000, 3)
    assert draws == draw_reference(natural, 20_000, 3)
    assert draws != draw_reference(natural, 20_000, 4)
    for name, p in (("Liam", 0.7), ("Ada", 0.25), ("River", 0.05)):
        assert abs(draws.count(name) / 20_000 - p) < 4 * math.sqrt(p * (1 - p) / 20_000)


# Lines


@given(
    st.dictionaries(
        st.tuples(
            st.sampled_from(["Ada", "Liam", "River", "Zoë", "Anne-Lou"]), st.sampled_from("FM")
        ),
        st.integers(1, 10**9 - 1),
        min_size=1,
    ),
    st.sampled_from(["\n", "\r\n"]),
)
def test_every_birth_is_counted_once(lines: dict[tuple[str, str], int], end: str) -> None:
    data = "".join(f"{name},{sex},{count}{end}" for (name, sex), count in lines.items())
    table = counted(parse_births(data.encode(), "yob2022.txt"))
    assert isinstance(table, pa.Table)
    assert sum(table["count"].to_pylist()) == sum(lines.values())
    for row in table.to_pylist():
        assert row["count"] == sum(c for (name, _), c in lines.items() if name == row["name"])


@pytest.mark.parametrize(
    "line",
    [
        "", "Ada", "Ada,F", "Ada,X,5", "Ada,f,5", "Ada,F,0", "Ada,F,-5", "Ada,F,5.0", "Ada,F,five",
        "Ada,F, 5", ",F,5", "Ada,F,5,6", "{Ada},F,5", "Ada ,F,5", "\ufeffAda,F,5", "Ada;F;5",
        "Ada,F,99999999999999999999", "Ada,F,٣",
    ],
)  # fmt: skip
def test_a_malformed_line_is_named(line: str) -> None:
    with pytest.raises(InputError, match=r"yob2022\.txt: line 2 is .*expected Name,Sex,Count"):
        parse_births(f"Liam,M,7\n{line}\nOlivia,F,6\n".encode(), "yob2022.txt")


def test_a_repeated_line_and_an_empty_file_are_refused() -> None:
    with pytest.raises(InputError, match=r"line 3 is 'Ada,F,6', .* each name and sex once"):
        parse_births(b"Ada,F,5\nAda,M,5\nAda,F,6\n", "yob2022.txt")
    with pytest.raises(InputError, match=r"yob2022\.txt: no lines"):
        parse_births(b"", "yob2022.txt")


# The network


def test_a_plain_client_is_refused_so_the_user_agent_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssa, "USER_AGENT", "python-requests/2")
    assert refused(GOOD, tmp_path, "HTTP 403") == 1


def test_a_failed_download_leaves_the_archive_of_last_time(tmp_path: Path) -> None:
    archive = tmp_path / "names.zip"
    archive.write_bytes(GOOD)
    with site(b"<html>down</html>") as (url, _), pytest.raises(InputError, match="web page"):
        from_ssa(url, archive, 2022)
    assert [p.name for p in tmp_path.iterdir()] == ["names.zip"]
    assert archive.read_bytes() == GOOD


# The archive


def with_flag(data: bytes, flag: int) -> bytes:
    """Set a general-purpose flag of the first member, in its header and in the directory."""
    changed = bytearray(data)
    changed[6] |= flag
    changed[data.index(b"PK\x01\x02") + 8] |= flag
    return bytes(changed)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<!DOCTYPE html>\n<html>Access Denied</html>", "a web page in place of a zip"),
        (b"", "not a zip archive"),
        (b"Olivia,F,60\n", "not a zip archive"),
        (GOOD[: len(GOOD) // 2], "cut short or damaged"),
        (zipped([("yob1880.txt", SMALL), ("yob2021.txt", SMALL)]), "years 1880 to 2021"),
        (zipped([("AK.TXT", SMALL)]), "no member yob2022.txt .found no year at all"),
        (zipped(like_ssa(b"Olivia,F\n")), "yob2022.txt: line 1 is 'Olivia,F', expected"),
        (zipped([("yob2022.txt", bytes(17 * 2**20))]), "yob2022.txt has 17825792 bytes"),
        (with_flag(zipped([("yob2022.txt", SMALL)]), 0x1), "encrypted"),
    ],
)  # fmt: skip
def test_a_bad_archive_is_refused_in_one_line_and_leaves_nothing(
    body: bytes, expected: str, tmp_path: Path
) -> None:
    assert refused(body, tmp_path, expected) == 1


def test_a_bomb_that_declares_a_small_size_does_not_unpack(tmp_path: Path) -> None:
    bomb = bytearray(zipped([("yob2022.txt", bytes(64 * 2**20))]))
    directory = bomb.index(b"PK\x01\x02")
    bomb[22:26] = bomb[directory + 24 : directory + 28] = (1000).to_bytes(4, "little")
    refused(bytes(bomb), tmp_path, "cut short or damaged .Bad CRC-32")


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_damaged_byte_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, place: int, change: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.zip"
    data = bytearray(GOOD)
    data[place] ^= change
    path.write_bytes(data)
    try:
        found = ssa.read_year(path, 2022, "names.zip")
    except InputError as error:
        message = str(error)
    else:
        assert found == SMALL
        return
    assert message.startswith("names.zip: ")
    assert "\n" not in message


# Settings


def test_a_setting_that_cannot_be_met_is_named_and_writes_nothing(tmp_path: Path) -> None:
    text = tmp_path / "yob2021.txt"
    text.write_bytes(SMALL)
    out = tmp_path / "out" / "natural.parquet"
    for file, expected in [
        (tmp_path / "no.zip", r"no\.zip: no such file"),
        (text, r"yob2021\.txt.*expected a file yob2022\.txt"),
    ]:
        with pytest.raises(InputError, match=expected):
            write_natural(names=NamesSettings(source="file", file=file), archive=out, out=out)
        assert not out.parent.exists()
