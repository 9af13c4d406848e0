"""What the jobs of a run took, and how long they take on a number of cores."""

import csv
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffuselm.errors import InputError
from diffuselm.files.json_files import read_json
from diffuselm.files.runs import is_method

WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class JobTime:
    """One job, named as its file in results/benchmarks: `tune/MODEL/RUN`."""

    name: str
    seconds: float
    cpu_seconds: float
    memory_mib: float  # largest resident set

    @property
    def cores(self) -> int:
        """As many as it kept busy, at least one."""
        return max(1, round(self.cpu_seconds / self.seconds)) if self.seconds else 1


def read_job_times(results: Path) -> list[JobTime]:
    """The jobs that noted their time (`--times`); of one that ran repeatedly, the last run."""
    return [
        _read(file, file.relative_to(results / "benchmarks").with_suffix("").as_posix())
        for file in sorted((results / "benchmarks").rglob("*.tsv"))
    ]


def _read(file: Path, name: str) -> JobTime:
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    try:
        numbers = [float(rows[-1][column]) for column in ("s", "cpu_time", "max_rss")]
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: {error!r}; expected times as `--times` writes them") from error
    return JobTime(name, *numbers)


def waits_for(jobs: Sequence[JobTime], results: Path) -> dict[str, set[str]]:
    """Which jobs each one waits for, by name.

    Sampling waits for its tuning, a tuning that starts from an adapter for that one's, measuring
    for all other jobs of the model, and all of a model for its conversion.
    """
    names = {job.name for job in jobs}
    starts = _starts(results)
    found = {}
    for name in names:
        stage, *model_and_run = name.split("/")
        model, run = (*model_and_run[-2:], "", "")[:2]
        if stage == "measure":
            before = {each for each in names if model in each.split("/")} - {name}
        elif stage == "tune":
            before = {f"tune/{model}/{starts.get((model, run))}"}
        else:
            before = {f"tune/{model}/{run.removeprefix('held-')}"}
            if stage == "sweep" or (is_method(run) and not before & names):
                before = {f"tune/{model}/form"}  # where that is the baseline
        found[name] = (before | {f"converted/{model}"} - {name}) & names
    return found


def _starts(results: Path) -> dict[tuple[str, str], str]:
    """The run whose adapter another one started from, by model and run."""
    records = {
        tuple(file.parent.parts[-2:]): read_json(file)
        for file in results.glob("adapters/*/*/run.json")
    }
    runs = {(model, made["files"][WEIGHTS]): run for (model, run), made in records.items()}
    return {
        (model, run): runs[model, start]
        for (model, run), made in records.items()
        if (model, start := made["settings"].get("start_sha256")) in runs
    }


def seconds_on(jobs: Sequence[JobTime], waits: Mapping[str, set[str]], cores: int) -> float:
    """Wall time of the jobs on `cores`, by a schedule that starts the longest that can start.

    A job that kept more cores busy than there are takes its CPU time over them.
    """
    pending = sorted(jobs, key=lambda job: -job.seconds)
    running: list[tuple[float, str, int]] = []  # end, name, cores
    done: set[str] = set()
    now, free = 0.0, cores
    while pending or running:
        for job in list(pending):
            needs = min(job.cores, cores)
            if needs <= free and waits[job.name] <= done:
                takes = job.seconds if needs == job.cores else job.cpu_seconds / cores
                heapq.heappush(running, (now + takes, job.name, needs))
                free -= needs
                pending.remove(job)
        now, name, freed = heapq.heappop(running)
        done.add(name)
        free += freed
    return now
