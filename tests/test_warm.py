"""Warm starts: a job that a fork carries out cannot be told from one that starts by itself."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from diffuselm.warm import GPUS, SOCKET

COMMAND = Path(__file__).parents[1] / "workflow/bin/diffuselm"
STARTER = f"""
import os
from diffuselm import warm

warm.start()
print(os.environ[{SOCKET!r}], flush=True)
input()
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or any(Path(device).exists() for device in GPUS),
    reason="warm starts are for Linux, and for CPUs",
)


@contextmanager
def started():
    """A process that started a server, as Snakemake's does, and the socket's path."""
    with subprocess.Popen(
        [sys.executable, "-c", STARTER],
        env={**os.environ, "PYTHONPATH": str(COMMAND.parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process, process.stdout.readline().strip()
        process.kill()


@pytest.fixture(scope="module")
def starter():
    with started() as found:
        yield found


@pytest.fixture(scope="module")
def socket(starter):
    return starter[1]


def start(socket, *words, **options):
    return subprocess.Popen(
        [sys.executable, COMMAND, *words], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, SOCKET: socket}, **options,
    )  # fmt: skip


def ended(socket, *words, **options):
    with start(socket, *words, **options) as job:
        out, error = job.communicate(timeout=60)
        return job.returncode, out, error


def forks(starter):
    """What the server forked."""
    (server,) = psutil.Process(starter[0].pid).children()
    return [p for p in server.children() if p.status() != psutil.STATUS_ZOMBIE]


@contextmanager
def waiting_job(socket, folder):
    """A job that waits for the lock of another one."""
    words = "tune --model no.json --tuning all --targets no.parquet --prompts a --seed 1 --out out"
    with (folder / "kept.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with start(socket, *words.split(), "--checkpoint", "kept", cwd=folder) as job:
            assert "waiting for its end" in job.stderr.readline()
            yield job
            job.kill()


@pytest.fixture
def waiting(socket, tmp_path):
    with waiting_job(socket, tmp_path) as job:
        yield job


@pytest.fixture
def alone(tmp_path):
    """A waiting job that no server carries out."""
    with waiting_job("", tmp_path) as job:
        yield job


def until(condition):
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


@pytest.mark.parametrize(
    "words",
    [["--version"], ["schema"], ["tune", "--rank", "many"], ["measure", "--exact", "no.parquet"]],
    ids=" ".join,
)
def test_a_fork_says_and_ends_as_a_process_of_its_own(socket, words, tmp_path):
    assert ended(socket, *words, cwd=tmp_path) == ended("", *words, cwd=tmp_path)


def test_a_fork_writes_in_the_folder_of_its_process_and_notes_its_own_time(socket, tmp_path):
    words = ["show", "--name", "m", "--baseline", "base", "--out", "m.json", "--times", "t.tsv"]
    assert ended(socket, *words, cwd=tmp_path)[0] == 0
    assert (tmp_path / "m.json").exists()
    columns, numbers = (tmp_path / "t.tsv").read_text().splitlines()
    assert columns.split("\t") == ["s", "cpu_time", "max_rss"]
    assert float(numbers.split("\t")[1]) < 1  # what the server loaded takes five


def test_a_signal_reaches_the_fork(waiting):
    waiting.send_signal(signal.SIGTERM)
    assert waiting.wait(30) == 128 + signal.SIGTERM
    assert "stopped by SIGTERM" in waiting.stderr.read()


def test_a_fork_ends_with_the_process_it_works_for(starter, waiting):
    assert len(forks(starter)) == 1
    waiting.kill()
    assert until(lambda: not forks(starter))


def test_a_fork_that_is_killed_ends_its_process(starter, waiting):
    forks(starter)[0].kill()
    assert waiting.wait(30) == 128 + signal.SIGKILL
    assert_says_killed(waiting)


def assert_says_killed(job):
    (line,) = job.stderr.read().splitlines()
    held = re.fullmatch(
        r"error: killed, perhaps for want of memory \(it held (\d+\.\d+) GB\); "
        "expected room for the model's work",
        line,
    )
    assert 0.05 < float(held[1]) < 3


def test_a_job_of_its_own_that_is_killed_says_so_too(alone):
    (working,) = psutil.Process(alone.pid).children()
    working.kill()
    assert alone.wait(30) == 128 + signal.SIGKILL
    assert_says_killed(alone)


def test_a_job_of_its_own_ends_with_the_process_that_waits_for_it(alone):
    (working,) = psutil.Process(alone.pid).children()
    alone.kill()
    assert until(lambda: not working.is_running())


def test_a_signal_to_a_whole_group_ends_a_job_of_its_own_in_one_line(alone):
    """A terminal's interrupt reaches both of its processes."""
    (working,) = psutil.Process(alone.pid).children()
    for each in (working, alone):
        each.send_signal(signal.SIGINT)
    assert alone.wait(30) == 128 + signal.SIGINT
    assert alone.stderr.read() == "error: stopped by SIGINT\n"


def test_a_job_starts_by_itself_where_nobody_answers(tmp_path):
    assert ended(str(tmp_path / "none"), "--version")[0] == 0


def test_the_server_ends_with_the_process_that_started_it():
    with started() as (process, path):
        assert Path(path).exists()
        process.kill()
        assert until(lambda: not Path(path).parent.exists())
