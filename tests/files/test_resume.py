"""Jobs that are killed and started again: nothing made twice, none lost, none of another job."""

import datetime
import json
import logging
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from diffuselm.errors import InputError
from diffuselm.files.provenance import content_hash
from diffuselm.files.resume import only_one, resumed
from diffuselm.files.schemas import SAMPLES, TEXT, WHOLE, columns
from diffuselm.files.tables import read_table

PACKAGE = Path(__file__).parents[2] / "workflow"
NAMES = ["samples/names/english", "samples/dates/june", "samples/fruits/one", "exact/fruits/one"]
# Makes the four pieces, noting each in the journal; kills itself as it starts on the one named.
JOB = """
import json, logging, os, signal, sys
from pathlib import Path
import pyarrow as pa
from diffuselm.files.schemas import TEXT
from diffuselm.files.tables import write_table
from diffuselm.files.resume import resumed

folder, names, dies = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
logging.basicConfig(format="%(message)s")


def make(name):
    for number in range(3):
        if name == dies and number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        yield {"paragraph": number, "tokens": len(name), "log_prob": -number / 3}
    with folder.with_name("journal").open("a") as journal:
        journal.write(name + "\\n")


with resumed(folder, "key") as finished:
    if dies == "asks":
        print("started", flush=True)
        sys.stdin.readline()
    tables = [finished.table(name, TEXT, lambda name=name: make(name)) for name in names]
    write_table(folder.with_name("out.parquet"), pa.concat_tables(tables), TEXT)
    if dies == "nowhere":
        finished.clear()
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "only-names.seed-2"


def start(folder, dies):
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(folder), json.dumps(NAMES), dies],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder, dies):
    """The job's exit code and standard error."""
    job = start(folder, dies)
    errors = job.communicate()[1]
    return job.returncode, errors


def made(folder):
    journal = folder.with_name("journal")
    return journal.read_text().splitlines() if journal.exists() else []


def text_rows(*log_probs):
    return [{"paragraph": 0, "tokens": 1, "log_prob": log_prob} for log_prob in log_probs]


def unmade():
    raise AssertionError("a stored piece is made again")


def damage(path):
    raw = bytearray(path.read_bytes())
    raw[-9 - int.from_bytes(raw[-8:-4], "little")] ^= 1  # the last byte before the footer
    path.write_bytes(raw)


@pytest.mark.parametrize("deaths", [NAMES[:1], NAMES[2:3], NAMES[1:]])
def test_a_killed_job_goes_on_and_makes_each_piece_once(folder, tmp_path, deaths):
    for name in deaths:
        assert run(folder, name) == (-signal.SIGKILL, "")
        assert made(folder) == NAMES[: NAMES.index(name)]
    assert run(folder, "nowhere") == (0, "")
    assert made(folder) == NAMES
    (tmp_path / "at once").mkdir()
    assert run(tmp_path / "at once" / "job", "nowhere") == (0, "")
    assert (tmp_path / "at once/out.parquet").read_bytes() == (
        tmp_path / "out.parquet"
    ).read_bytes()
    assert not folder.exists()


@pytest.mark.parametrize("end", ["it finishes", "it is killed"])
def test_of_two_at_once_the_second_waits_says_so_once_and_uses_what_is_done(folder, end):
    with start(folder, "asks") as first:
        assert first.stdout.readline() == "started\n"
        with start(folder, "stays") as second:
            said = second.stderr.readline()
            assert said.startswith(f"{folder}: the same job runs in another process")
            if end == "it is killed":
                first.kill()
            first.communicate("go on\n" if end == "it finishes" else None)
            assert second.communicate()[1] == ""
            assert second.returncode == 0
    assert made(folder) == NAMES


def test_jobs_whose_names_end_alike_do_not_wait_for_each_other(tmp_path):
    one, other = (resumed(tmp_path / name, "a") for name in ("v1.1", "v1.2"))
    with one, other, only_one(tmp_path / "v1"):
        assert (tmp_path / "v1.1.lock").exists()


def test_the_lock_is_free_again_after_an_error(folder, caplog):
    with pytest.raises(AssertionError), resumed(folder, "a") as finished:
        finished.table("x", TEXT, unmade)
    folder.joinpath("key.json").unlink()
    folder.joinpath("mine").touch()
    with pytest.raises(InputError), resumed(folder, "a"):
        pass
    folder.joinpath("mine").unlink()
    with resumed(folder, "a"):
        pass
    assert not caplog.records


def test_pieces_of_another_key_are_removed(folder):
    with resumed(folder, "a") as finished:
        finished.table("x", TEXT, lambda: text_rows(-1.0))
        finished.table("y", TEXT, lambda: text_rows(-1.0))
    with resumed(folder, "b") as finished:
        assert not list(folder.glob("*.parquet"))
        found = finished.table("x", TEXT, lambda: text_rows(-2.0))
        assert found["log_prob"].to_pylist() == [-2.0]
    with resumed(folder, "b") as finished:
        assert finished.table("x", TEXT, unmade).equals(found)


def test_pieces_without_a_readable_key_are_not_used(folder, caplog):
    with resumed(folder, "a") as finished:
        finished.table("x", TEXT, lambda: text_rows(-1.0))
    (folder / "key.json").write_text("{")
    with resumed(folder, "a") as finished:
        finished.table("x", TEXT, lambda: text_rows(-2.0))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert read_table(folder / "x.parquet", TEXT)["log_prob"].to_pylist() == [-2.0]


def test_a_folder_of_other_files_is_refused_and_left_as_it_is(folder):
    folder.mkdir()
    (folder / "mine.parquet").write_text("mine")
    with (
        pytest.raises(InputError, match=r"holds mine\.parquet and no key\.json"),
        resumed(folder, "a"),
    ):
        pass
    assert [path.name for path in folder.iterdir()] == ["mine.parquet"]


@pytest.mark.parametrize("broken", [damage, lambda path: path.write_bytes(b"")])
def test_a_damaged_piece_is_made_again_with_a_warning(folder, caplog, broken):
    with resumed(folder, "a") as finished:
        for name in ("t/x", "t/y"):
            finished.table(name, TEXT, lambda: text_rows(-1.0))
    broken(folder / "t%2Fx.parquet")
    with resumed(folder, "a") as finished:
        finished.table("t/x", TEXT, lambda: text_rows(-2.0))
        found = finished.table("t/x", TEXT, unmade)
        finished.table("t/y", TEXT, unmade)
    assert found["log_prob"].to_pylist() == [-2.0]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("t/x is made again: ")


def test_no_name_of_a_piece_leads_out_of_the_folder(folder):
    with resumed(folder, "a") as finished:
        for name in ("../x", "/x", "a/x", "a%2Fx"):
            finished.table(name, TEXT, lambda: text_rows(-1.0))
        assert len(list(folder.glob("*.parquet"))) == 4
    assert sorted(path.name for path in folder.parent.iterdir()) == sorted(
        [folder.name, f"{folder.name}.lock"]
    )


def test_clearing_removes_the_folder_and_leaves_the_lock(folder):
    with resumed(folder, "a") as finished:
        finished.table("x", TEXT, lambda: text_rows(-1.0))
        finished.clear()
    assert [path.name for path in folder.parent.iterdir()] == [f"{folder.name}.lock"]


def test_rows_come_back_exactly(folder):
    numbers = [0.1 + 0.2, -1e-310, 5e-324, -math.inf, math.nan, -0.0, None, 1.7976931348623157e308]
    texts = ["{Zoë}", "", None, "a\r\n\tb\0", "\U0001f600\ufffd", " x ", "null", "東京"]
    samples = [
        {"prompt": "names/english", "seed": 2**63 - 1, "draw": number, "text": text, "value": None,
         "valid": number % 2 == 0, "logprob": log_prob, "truncated": None}
        for number, (text, log_prob) in enumerate(zip(texts, numbers, strict=True))
    ]  # fmt: skip
    dated = columns(day=pa.date32(), year=WHOLE)
    days = [{"day": datetime.date(1900, 2, 28), "year": 1900}, {"day": None, "year": None}]
    for name, rows, schema in (("s", samples, SAMPLES), ("d", days, dated)):
        for make in (rows.copy, unmade):
            with resumed(folder, "a") as finished:
                found = finished.table(name, schema, make)
            assert repr(found.to_pylist()) == repr(rows)  # unlike ==, tells -0.0 and NaN
            assert found.schema.equals(schema, check_metadata=True)


def test_a_piece_that_failed_is_not_stored(folder):
    def rows():
        yield from text_rows(-1.0)
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"), resumed(folder, "a") as finished:
        finished.table("x", TEXT, rows)
    assert [path.name for path in folder.iterdir()] == ["key.json"]


def test_an_empty_piece_is_a_piece(folder):
    for make in (list, unmade):
        with resumed(folder, "a") as finished:
            assert finished.table("x", SAMPLES, make).equals(SAMPLES.empty_table())


def test_a_content_hash_sees_values_and_not_the_order_of_keys():
    assert content_hash([{"a": 1, "b": (2, None)}]) == content_hash([{"b": [2, None], "a": 1}])
    assert content_hash({"a": 1}) != content_hash({"a": 1.5})
