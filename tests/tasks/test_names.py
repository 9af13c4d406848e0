"""The natural distribution of names: what each source yields, and what each refuses."""

import hashlib
import io
import math
import os
import stat
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffuselm.errors import InputError
from diffuselm.files.contracts import NATURAL, read_table
from diffuselm.tasks import ssa
from diffuselm.tasks.names import counted, draw_reference, parse_births, write_natural

SMALL = b"Olivia,F,60\r\nRiver,F,20\r\nAda,F,5\r\nLiam,M,70\r\nRiver,M,45\r\n"
Members = list[tuple[str | zipfile.ZipInfo, bytes]]


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


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssa, "BACKOFF_SECONDS", 0.001)


Answer = Callable[[int], tuple[int, bytes, int]]  # request number -> status, body, content length


@contextmanager
def site(answer: Answer | bytes) -> Iterator[tuple[str, list[str]]]:
    """A server on the loopback that, as the SSA's, refuses clients that are no browser."""
    agents: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            agents.append(self.headers.get("User-Agent", ""))
            if not agents[-1].startswith("Mozilla/5.0 ("):
                status, body, length = 403, b"", 0
            elif callable(answer):
                status, body, length = answer(len(agents))
            else:
                status, body, length = 200, answer, len(answer)
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/names.zip", agents
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def refused(answer: Answer | bytes, folder: Path, expected: str) -> int:
    """Check that a download fails in one clear line and leaves nothing; return the requests."""
    with site(answer) as (url, agents):
        with pytest.raises(InputError, match=expected) as caught:
            write_natural(
                "ssa", folder / "n.parquet", year=2022, url=url, archive=folder / "names.zip"
            )
        assert str(caught.value).startswith(url)
    assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == []
    return len(agents)


def coverage_and_entropy(draws: list[str]) -> tuple[int, float]:
    counts = Counter(draws).values()
    return len(counts), -sum(c / len(draws) * math.log(c / len(draws)) for c in counts)


# The three sources


def test_ssa_pools_both_sexes_sorts_and_keeps_the_archive(tmp_path: Path) -> None:
    out, archive = tmp_path / "natural.parquet", tmp_path / "kept" / "names.zip"
    with site(GOOD) as (url, _):
        label = write_natural("ssa", out, year=2022, url=url, archive=archive)
    assert read_table(out, NATURAL).to_pylist() == [
        {"name": "Liam", "count": 70, "probability": 0.35},
        {"name": "River", "count": 65, "probability": 0.325},
        {"name": "Olivia", "count": 60, "probability": 0.3},
        {"name": "Ada", "count": 5, "probability": 0.025},
    ]
    assert archive.read_bytes() == GOOD
    assert label.startswith("US Social Security Administration, births of 2022 (")
    assert hashlib.sha256(GOOD).hexdigest() in label
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["kept", "names.zip", "natural.parquet"]


def test_ssa_without_an_archive_path_keeps_only_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with site(GOOD) as (url, _):
        write_natural("ssa", tmp_path / "natural.parquet", year=1880, url=url)
    assert [p.name for p in tmp_path.iterdir()] == ["natural.parquet"]
    assert read_table(tmp_path / "natural.parquet", NATURAL)["name"].to_pylist() == ["John", "Mary"]


def test_a_local_archive_and_its_year_file_give_the_same_table(tmp_path: Path) -> None:
    (tmp_path / "names.zip").write_bytes(GOOD)
    (tmp_path / "yob2022.txt").write_bytes(SMALL)
    for name in ("names.zip", "yob2022.txt"):
        label = write_natural("file", tmp_path / f"{name}.parquet", year=2022, file=tmp_path / name)
        assert label.startswith(f"{name}, births of 2022 (")
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() in label
    one, other = (read_table(p, NATURAL) for p in tmp_path.glob("*.parquet"))
    assert one.equals(other)


def test_embedded_gives_each_sex_half_and_says_what_it_is(tmp_path: Path) -> None:
    import faker
    from faker.providers.person.en_US import Provider

    label = write_natural("embedded", tmp_path / "natural.parquet")
    assert label == f"Faker {faker.VERSION} en_US first-name frequencies (embedded)"
    rows = read_table(tmp_path / "natural.parquet", NATURAL).to_pylist()
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
        write_natural("ssa", tmp_path / "natural.parquet", year=2022, url=url)
    natural = read_table(tmp_path / "natural.parquet", NATURAL)
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
    with pytest.raises(InputError, match=r"line 3 repeats Ada,F of line 1"):
        parse_births(b"Ada,F,5\nAda,M,5\nAda,F,6\n", "yob2022.txt")
    with pytest.raises(InputError, match=r"yob2022\.txt: no lines"):
        parse_births(b"", "yob2022.txt")


# The network


def test_two_failures_of_the_server_are_waited_out_with_growing_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(ssa.time, "sleep", waits.append)
    with site(lambda n: (503, b"", 0) if n < 3 else (200, GOOD, len(GOOD))) as (url, agents):
        write_natural("ssa", tmp_path / "n.parquet", year=2022, url=url)
    assert len(agents) == 3
    assert waits == [ssa.BACKOFF_SECONDS, 2 * ssa.BACKOFF_SECONDS]


def test_a_body_cut_short_once_is_fetched_again(tmp_path: Path) -> None:
    half = GOOD[: len(GOOD) // 2]
    with site(lambda n: (200, half if n == 1 else GOOD, len(GOOD))) as (url, agents):
        write_natural("ssa", tmp_path / "n.parquet", year=2022, url=url, archive=tmp_path / "z")
    assert len(agents) == 2
    assert (tmp_path / "z").read_bytes() == GOOD


def test_a_body_always_cut_short_ends_after_the_last_attempt(tmp_path: Path) -> None:
    half = GOOD[: len(GOOD) // 2]
    assert refused(lambda _: (200, half, len(GOOD)), tmp_path, "after 5 attempt") == ssa.ATTEMPTS


def test_a_server_that_stays_down_ends_after_the_last_attempt(tmp_path: Path) -> None:
    assert refused(lambda _: (503, b"", 0), tmp_path, "HTTP 503") == ssa.ATTEMPTS


@pytest.mark.parametrize("status", [403, 404])
def test_a_final_answer_is_not_asked_for_again(status: int, tmp_path: Path) -> None:
    assert refused(lambda _: (status, b"", 0), tmp_path, f"HTTP {status}") == 1


def test_a_plain_client_is_refused_so_the_user_agent_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssa, "USER_AGENT", "python-requests/2")
    assert refused(GOOD, tmp_path, "HTTP 403") == 1


def test_no_server_at_all_is_one_line(tmp_path: Path) -> None:
    with site(GOOD) as (url, _):
        pass
    with pytest.raises(InputError, match="after 5 attempt") as caught:
        write_natural("ssa", tmp_path / "n", year=2022, url=url, archive=tmp_path / "z")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_download_leaves_the_archive_of_last_time(tmp_path: Path) -> None:
    archive = tmp_path / "names.zip"
    archive.write_bytes(GOOD)
    with site(b"<html>down</html>") as (url, _), pytest.raises(InputError, match="web page"):
        write_natural("ssa", tmp_path / "n", year=2022, url=url, archive=archive)
    assert [p.name for p in tmp_path.iterdir()] == ["names.zip"]
    assert archive.read_bytes() == GOOD


# The archive


def member(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def with_member(*extra: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    return zipped([*like_ssa(SMALL), *extra])


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
        (with_member(("../evil.txt", b"x")), r"member '\.\./evil\.txt' has an unsafe path"),
        (with_member(("a/../../evil.txt", b"x")), "unsafe path"),
        (with_member(("/etc/evil", b"x")), "member '/etc/evil' has an unsafe path"),
        (with_member(("..\\evil.txt", b"x")), "unsafe path"),
        (with_member(("C:\\evil.txt", b"x")), "unsafe path"),
        (with_member((member("link", stat.S_IFLNK | 0o777), b"/etc/passwd")), "'link' is a link"),
        (with_member((member("pipe", stat.S_IFIFO | 0o644), b"")), "'pipe' is a link or device"),
        (with_member(("bomb.txt", bytes(17 * 2**20))), "'bomb.txt' unpacks to 17825792 bytes"),
        (with_member(*((f"{i}.txt", bytes(2**24)) for i in range(17))), "285212[0-9]+ bytes unpac"),
        (with_member(*((f"{i}.txt", b"") for i in range(1000))), "1003 members, expected at most"),
        (with_flag(GOOD, 0x1), "'yob1880.txt' is encrypted"),
    ],
)  # fmt: skip
def test_a_bad_archive_is_refused_in_one_line_and_leaves_nothing(
    body: bytes, expected: str, tmp_path: Path
) -> None:
    assert refused(body, tmp_path, expected) == 1


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_in_the_archive_is_refused(tmp_path: Path) -> None:
    body = with_member(("yob2022.txt", b"Evil,F,9\n"))
    refused(body, tmp_path, r"member 'yob2022\.txt' occurs 2 times")


def test_an_unusual_compression_is_refused(tmp_path: Path) -> None:
    info = member("old.txt")
    info.compress_type = zipfile.ZIP_BZIP2
    refused(with_member((info, b"x")), tmp_path, "'old.txt' has compression method 12")


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
    for settings_, expected in [
        ({"source": "census"}, r"names source: found 'census', expected 'ssa', 'file' or"),
        ({"source": "ssa"}, r"names year: missing"),
        ({"source": "file", "file": text}, r"names year: missing"),
        ({"source": "file", "year": 2022}, r"names file: missing"),
        ({"source": "file", "year": 2022, "file": tmp_path / "no.zip"}, r"no\.zip is no file"),
        ({"source": "file", "year": 2022, "file": text}, r"yob2021\.txt.*expected yob2022\.txt"),
    ]:
        with pytest.raises(InputError, match=expected):
            write_natural(settings_.pop("source"), out, **settings_)
        assert not out.parent.exists()
