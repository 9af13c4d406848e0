"""What an invocation finds: another one at work, a disk without room, files that were damaged."""

import os
import re
import shutil
import signal
import subprocess
from contextlib import contextmanager

import pytest

from workflow_runs import (
    MODEL,
    copy_of_undisturbed,
    invocation,
    same,
    snakemake,
)

METRICS = ("--cores", "2", "-R", "measure", "--", "results/metrics.parquet")
RUN = f"{MODEL}/only-numbers"
OF_A_MODEL = f"results/metrics/{MODEL}.parquet"
WEIGHTS = f"results/adapters/{RUN}/adapter_model.safetensors"
CHECKPOINT = f"results/checkpoints/tune/{RUN}.safetensors"
LOST = "results/targets/numbers.parquet"
TUNE = ("--cores", "2", "--", WEIGHTS)


@pytest.fixture
def folder(tmp_path):
    return copy_of_undisturbed(tmp_path / "run")


def errors(said):
    """The lines that tell what is wrong; a log is shown after its job's."""
    assert "Traceback" not in said, said
    return re.findall(r"^error: .*", said, re.MULTILINE)


def flip_a_bit(file):
    """In the middle of a file, whose time stays as it was."""
    content, stat = bytearray(file.read_bytes()), file.stat()
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@contextmanager
def mounted(folder, *words):
    """A file system at `folder`; skips where it is refused."""
    done = subprocess.run(["mount", *words, str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def read_only(folder):
    with mounted(folder, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield


def test_a_second_invocation_ends_in_one_line_that_names_the_first(folder):
    with invocation(folder, *METRICS) as first:
        assert first.until(lambda: first.started), first.said
        os.kill(first.main.pid, signal.SIGSTOP)
        second = snakemake(folder, *METRICS, fails=True)
        assert errors(second.said) == [
            f"error: results: another invocation is at work (process {first.main.pid} on "
            f"{os.uname().nodename}); expected to be the only one: wait for it, or stop it"
        ]
        assert not second.started
        assert "measure" in snakemake(folder, "-n", *METRICS[2:]).started
        os.kill(first.main.pid, signal.SIGCONT)
        assert first.ends() == 0, first.said
    assert same(folder, "metrics.parquet")


def test_a_killed_invocation_holds_nothing(folder):
    with invocation(folder, *METRICS) as first:
        assert first.until(lambda: first.started), first.said
        first.kill()
    snakemake(folder, *METRICS)
    assert same(folder, "metrics.parquet")


def test_results_that_cannot_be_written_are_one_line_and_start_nothing(folder):
    (folder / "results/metrics.parquet").unlink()
    with read_only(folder / "results"):
        run = snakemake(folder, *METRICS[:2], *METRICS[-2:], fails=True)
    assert errors(run.said) == [
        "error: results: cannot be written (Read-only file system); expected room for results"
    ]
    assert not run.started


def test_a_result_that_cannot_be_replaced_is_named_and_starts_nothing(folder):
    with read_only(folder / "results"):
        run = snakemake(folder, *METRICS, fails=True)
    # Snakemake names the job of the two that it happens to look at first.
    either = rf"rule (measure:\n    output: {OF_A_MODEL}|metrics:\n    output: results/metrics)"
    assert re.search(f"Write-protected output files for {either}", run.said), run.said
    assert not run.started
    assert same(folder, "metrics.parquet", "parts/*")


def test_a_disk_that_fills_up_is_one_line_and_with_room_again_the_next_one_goes_on(folder):
    """There is room for one checkpoint, and not for the next one beside it."""
    place = folder / "results"
    kept = place.rename(folder / "kept")
    place.mkdir()
    with mounted(place, "-t", "tmpfs", "-o", "size=8m", "tmpfs"):
        shutil.copytree(kept, place, dirs_exist_ok=True)
        shutil.rmtree((folder / WEIGHTS).parent)
        disk, filler = os.statvfs(place), place / "filler"
        filler.write_bytes(bytes(disk.f_bavail * disk.f_bsize - 2**20))
        run = snakemake(folder, *TUNE, fails=True)
        assert errors(run.said) == [
            f"error: {CHECKPOINT}: No space left on device; "
            "expected room on its disk: free some, then run again"
        ]
        assert (folder / CHECKPOINT).exists()
        filler.unlink()
        snakemake(folder, *TUNE)
        assert same(folder, f"adapters/{RUN}/adapter_model.safetensors")


def test_a_damaged_adapter_is_named_and_not_used(folder):
    run_of = f"{MODEL}/only-names"
    weights = f"results/adapters/{run_of}/adapter_model.safetensors"
    flip_a_bit(folder / weights)
    answers = f"results/samples/{run_of}.parquet"
    run = snakemake(folder, "--cores", "2", "-R", "sample", "--", answers, fails=True)
    (line,) = errors(run.said)
    assert line.startswith(f"error: {weights}: SHA-256 is ")
    assert set(run.started) == {"sample"}
    assert not list((folder / "results").glob(f"*/{run_of}.*"))


def test_damaged_samples_are_named_and_not_measured(folder):
    samples = f"results/samples/{RUN}.parquet"
    flip_a_bit(folder / samples)
    run = snakemake(folder, "--cores", "2", "-R", "measure", fails=True)
    (line,) = errors(run.said)
    assert line.startswith(f"error: {samples}: is damaged or not Parquet (")
    assert set(run.started) == {"measure"}
    assert not (folder / OF_A_MODEL).exists()


def test_targets_that_were_deleted_and_are_the_same_train_nothing_again(folder):
    kept = (folder / LOST).read_bytes()
    (folder / LOST).unlink()
    (folder / f"results/samples/{MODEL}/base.parquet").unlink()
    warned = snakemake(folder, "-n")
    assert f"{LOST} was gone (of 1) and is written again" in warned.said
    assert "tune" not in warned.started
    assert "sample" in warned.started
    assert (folder / LOST).read_bytes() == kept
