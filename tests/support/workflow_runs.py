"""The workflow on a config small enough to run it, kill it and run it again, and what it leaves."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path

import psutil
import yaml

from forks import ROOT, shared_server, start_snakemake

MODEL = "tiny-llama"
# Few jobs, of few steps: for runs that are killed, damaged or repeated.
CONFIG = {
    "models": {
        MODEL: {"path": f"resources/models/{MODEL}", "stand_in": True, "paper_model": "llama-2"}
    },
    "tasks": [f"resources/tasks/{task}.yaml" for task in ("names", "numbers")],
    "leave_one_out": [],
    "tunings": {},
    "ranges": None,
    "knowledge": None,
    "held_out_text": None,
    "temperatures": [],
    "tune": {"learning_rate": 0.003, "passes": 8, "token_budget": 2048, "checkpoint_seconds": 0},
    "sample": {"draws": 60},
}
# Every table and figure, and tunings long enough to see that the method works.
SMALL = {
    **{key: CONFIG[key] for key in ("models",)},
    "tasks": [f"resources/tasks/{task}.yaml" for task in ("names", "numbers", "biographies")],
    "tunings": {"rng-10": ["numbers/1-10"]},
    "tune": {
        "learning_rate": 0.003,
        "learning_rate_of": {"rng-10": 0.01},
        "passes": 4,
        "passes_of": {"rng-10": 150, "only-names": 8, "biographies": 1},
        "token_budget": 2048,
    },
    "sample": {"draws_of": {"biographies": 60}, "max_tokens_of": {"biographies": 160}},
    "ranges": {"highs": [10, 45], "sizes": [20], "versions": 2},
    "temperatures": [2],
}
# What the config gives to the same bytes, however often it was interrupted.
EXACT_FILES = (
    "metrics.parquet",
    "scorecard.parquet",
    "samples/*/*.parquet",
    "exact/*/*.parquet",
    "adapters/*/*/adapter_model.safetensors",
    "tables/*",
)
LONGEST = 900  # seconds; beyond, something waits for ever


class Invocation:
    """One `snakemake` in a session of its own, which its jobs belong to.

    Its jobs fork from one process that invocations share, unless it is `alone`: to import what
    they need takes five seconds of CPU.
    """

    def __init__(
        self, folder: Path, *words: str, config: Mapping | None = None, alone: bool = False
    ) -> None:
        if config is not None:
            (folder / "small.yaml").write_text(yaml.safe_dump(dict(config)))
        handle, log = tempfile.mkstemp(prefix=f"{folder.name}.", suffix=".log", dir=folder.parent)
        os.close(handle)
        self._log = Path(log)
        server = None if alone or "-n" in words else shared_server()
        words = ("--configfile", "small.yaml", *words)
        self.main = start_snakemake(folder, words, self._log, server)

    @property
    def said(self) -> str:
        return self._log.read_text(encoding="utf-8")

    @property
    def started(self) -> list[str]:
        """The rules of the jobs that it started."""
        return re.findall(r"^(?:local)?rule (\w+):$", self.said, re.MULTILINE)

    def processes(self) -> list[psutil.Process]:
        """All of the session that live."""
        return [p for p in psutil.process_iter() if _lives_in(p, self.main.pid)]

    def jobs(self, stage: str | None = None) -> list[psutil.Process]:
        """The stages at work, or those of one name: not the processes that only wait for one."""
        at_work = {process: _stage(process) for process in self.processes()}
        found = {p.pid: p for p, its in at_work.items() if its and its == (stage or its)}
        waiting = {_parent(process) for process in found.values()}
        return [process for pid, process in found.items() if pid not in waiting]

    def until(self, happened: Callable[[], object]) -> bool:
        """Wait for it; False where Snakemake ended first."""
        while self.main.is_alive():
            if happened():
                return True
            time.sleep(0.005)
        return False

    def ends(self) -> int:
        """Wait for Snakemake's exit code."""
        self.main.join(LONGEST)
        assert self.main.exitcode is not None, self.said
        return self.main.exitcode

    def kill(self) -> None:
        """SIGKILL for the whole session at once."""
        os.killpg(self.main.pid, signal.SIGKILL)
        self.ends()

    def wait_for_orphans(self) -> None:
        """Wait for the jobs that outlive Snakemake."""
        psutil.wait_procs(self.processes(), LONGEST)
        assert not self.processes()


@contextmanager
def invocation(
    folder: Path, *words: str, config: Mapping | None = None, alone: bool = False
) -> Iterator[Invocation]:
    """An invocation of which nothing lives on; a config takes the place of the last one."""
    run = Invocation(folder, *words, config=config, alone=alone)
    try:
        yield run
    finally:
        if run.processes():
            run.kill()


def snakemake(
    folder: Path,
    *words: str,
    config: Mapping | None = None,
    alone: bool = False,
    fails: bool = False,
) -> Invocation:
    """An invocation that ended by itself, well or not, as expected."""
    with invocation(folder, *words, config=config, alone=alone) as run:
        assert (run.ends() != 0) == fails, run.said
        return run


def planned(folder: Path, *words: str, config: Mapping | None = None) -> Counter[str]:
    """Jobs that a dry run plans: rule -> how many; targets apart."""
    started = snakemake(folder, "-n", *words, config=config).started
    return Counter(rule for rule in started if rule not in ("all", "render"))


def nothing_to_do(folder: Path, *words: str, config: Mapping | None = None) -> bool:
    """Whether a dry run plans no job."""
    return "Nothing to be done" in snakemake(folder, "-n", *words, config=config).said


def checkout(folder: Path) -> Path:
    """A copy of the files that git tracks, and of new ones not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def new_folder(folder: Path) -> Path:
    """A checkout with the small config."""
    checkout(folder)
    (folder / "small.yaml").write_text(yaml.safe_dump(CONFIG))
    return folder


_FOLDER = tempfile.TemporaryDirectory(prefix="runs-")  # goes when Python ends


@cache
def undisturbed() -> Path:
    """The folder of the run that nothing interrupts, the same for all tests; for reading."""
    folder = new_folder(Path(_FOLDER.name) / "undisturbed")
    snakemake(folder, "--cores", "2", alone=True)
    return folder


@cache
def finished_run() -> Path:
    """The folder of a run of the small config with every result, the same for all tests."""
    folder = checkout(Path(_FOLDER.name) / "finished")
    snakemake(folder, "--cores", "2", config=SMALL, alone=True)
    return folder


def copy_of_undisturbed(folder: Path) -> Path:
    return shutil.copytree(undisturbed(), folder, symlinks=True)


def results(folder: Path, *patterns: str) -> dict[str, bytes]:
    """The files in the results that match a pattern."""
    top = folder / "results"
    return {
        path.relative_to(top).as_posix(): path.read_bytes()
        for pattern in patterns
        for path in top.glob(pattern)
        if path.is_file()
    }


def same(folder: Path, *patterns: str) -> bool:
    """Whether files are to the byte those of the undisturbed run."""
    expected = results(undisturbed(), *patterns)
    assert expected
    return results(folder, *patterns) == expected


def assert_whole(folder: Path) -> None:
    """The results are those of the undisturbed run, with nothing missing, left over or to do."""
    # Of a job that outlived Snakemake nobody took the time.
    present, expected = (
        {name for name in results(each, "**/*") if not name.startswith("benchmarks/")}
        for each in (folder, undisturbed())
    )
    assert present == expected, present ^ expected
    for pattern in EXACT_FILES:
        assert same(folder, pattern), pattern
    assert not [path for path in (folder / "results").rglob("*") if ".part" in path.name]
    kept = results(folder, "checkpoints/**/*")
    assert [name for name in kept if not name.endswith(".lock")] == []
    assert nothing_to_do(folder)


def _lives_in(process: psutil.Process, session: int) -> bool:
    try:
        return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return None


def _stage(process: psutil.Process) -> str | None:
    """The stage that a process is at: its Python, not a shell around it."""
    try:
        words = process.cmdline()
    except psutil.NoSuchProcess:
        return None
    return next((stage for word, stage in pairwise(words) if word.endswith("/diffuselm")), None)
