"""A disk that is full or read-only, and signals: nothing half-written, and one line to say so."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, str(ROOT / "workflow/bin/diffuselm")]
NAMES = ["names", "--archive", "names.zip"]
TARGETS = ["targets", "--task", str(ROOT / "resources/tasks/fruits.yaml"), "--seed", "0"]
# Further commands, through the same command line: one that writes as an adapter is written, and
# one that waits in the middle of it.
ADAPTER = """
import signal, sys
from pathlib import Path
import numpy as np
from safetensors.numpy import save_file
from diffuselm import cli
from diffuselm.files.schemas import TEXT
from diffuselm.files.tables import write_rows
from diffuselm.files.whole import written_folder
from diffuselm.files.json_files import write_json

@cli.app.command()
def adapter(out: Path):
    with written_folder(out) as part:
        write_json(part / "adapter_config.json", {"r": 4})
        write_rows(part / "training.parquet", [], TEXT)
        save_file({"lora_A": np.zeros(500_000, np.float32)}, part / "adapter_model.safetensors")

@cli.app.command()
def waits(out: Path):
    with written_folder(out) as part:
        write_json(part / "adapter_config.json", {"r": 4})
        print("writing", flush=True)
        signal.pause()

cli.main()
"""
IN_CODE = [sys.executable, "-c", ADAPTER]
WRITERS = {
    "names": [*COMMAND, *NAMES, "--out"],
    "targets": [*COMMAND, *TARGETS, "--out"],
    "an adapter": [*IN_CODE, "adapter"],
}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT / "workflow")}


def fails(words):
    """The one line that a command ends in, with exit code 1."""
    done = subprocess.run(words, capture_output=True, text=True, env=environment())
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr.strip()


@pytest.fixture
def disk(tmp_path):
    """A disk of one megabyte of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no disk to fill: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk):
    with suppress(OSError), (disk / "filler").open("wb", 0) as filler:
        while True:
            filler.write(bytes(2**12))


@pytest.mark.parametrize("what", WRITERS)
def test_a_full_disk_leaves_nothing_and_is_one_line(disk, what):
    out = disk / "results" / "made"
    fill(disk)
    line = fails([*WRITERS[what], str(out)])
    assert re.fullmatch(
        rf"error: {out}(\.json)?: No space left on device; expected room on its disk: free some, "
        "then run again",
        line,
    )
    assert sorted(disk.rglob("*")) == [disk / "filler", out.parent]


def test_a_disk_that_fills_up_midway_leaves_no_part_of_an_adapter(disk):
    """There is room for its small files, and for half of its weights."""
    line = fails([*WRITERS["an adapter"], str(disk / "made")])
    assert line.startswith(f"error: {disk / 'made'}: No space left on device; ")
    assert not list(disk.iterdir())


def test_a_disk_without_room_for_another_file_leaves_nothing(disk):
    """The folder of the part takes the last one."""
    subprocess.run(["mount", "-o", "remount,nr_inodes=2", str(disk)], check=True)
    line = fails([*WRITERS["names"], str(disk / "made")])
    assert line.startswith(f"error: {disk / 'made'}: No space left on device; ")
    assert not list(disk.iterdir())


def test_what_was_there_before_stays_when_the_disk_is_full(disk):
    out = disk / "made"
    out.write_text("old")
    fill(disk)
    fails([*WRITERS["names"], str(out)])
    assert out.read_text() == "old"


@pytest.mark.parametrize("what", WRITERS)
def test_a_read_only_disk_is_one_line_and_stays_as_it_was(disk, what):
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    line = fails([*WRITERS[what], str(disk / "made")])
    assert re.fullmatch(
        rf"error: {disk / 'made'}(\.json)?: Read-only file system; expected a disk that can be "
        "written to",
        line,
    )
    assert not list(disk.iterdir())


def test_a_file_where_a_folder_should_be_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    line = fails([*WRITERS["names"], str(tmp_path / "file" / "made")])
    assert line == f"error: {tmp_path / 'file'}: File exists; expected a folder there, or nothing"


def test_a_standard_output_that_is_full_is_one_line():
    with Path("/dev/full").open("w") as full:
        words = [*COMMAND, "--version"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode
    assert re.fullmatch("error: No space left on device; .*\n", done.stderr)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing_and_is_one_line(tmp_path, number, code):
    job = subprocess.Popen(
        [*IN_CODE, "waits", str(tmp_path / "made")],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert job.stdout.readline() == "writing\n"
    assert len(list(tmp_path.iterdir())) == 1
    job.send_signal(number)
    assert job.communicate()[1] == f"error: stopped by {number.name}\n"
    assert job.returncode == code
    assert not list(tmp_path.iterdir())


def test_an_interrupt_that_the_shell_told_to_ignore_is_ignored(tmp_path):
    """As of a job that `nohup` or a script put in the background."""
    job = subprocess.Popen(
        [*IN_CODE, "waits", str(tmp_path / "made")],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert job.stdout.readline() == "writing\n"
    ignored = re.search(r"^SigIgn:\t(\w+)$", Path(f"/proc/{job.pid}/status").read_text(), re.M)[1]
    assert int(ignored, 16) >> signal.SIGINT - 1 & 1
    job.send_signal(signal.SIGTERM)
    assert job.communicate()[1] == "error: stopped by SIGTERM\n"
