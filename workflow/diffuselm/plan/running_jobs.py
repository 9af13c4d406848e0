"""What the jobs of a run are at, from Snakemake's own events and the jobs' logs.

Told every minute; and of each job that took long, the last line, which is what it found.

An ordinary handler of Snakemake's logger, so that it works with every executor, with and without a
terminal.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

SECONDS = 60  # between two tellings
TAIL = 4096  # bytes of a log that hold its last line


@dataclass(frozen=True)
class _Job:
    rule: str
    name: str
    log: Path | None
    since: float  # Unix time


class RunningJobs(logging.Handler):
    """Keeps the jobs under way, and how long those that ended took.

    `jobs` counts the run's jobs by rule; `timed` are the rules whose jobs take long: only they
    decide how much time is left.
    """

    def __init__(
        self,
        jobs: Mapping[str, int],
        timed: Collection[str],
        clock: Callable[[], float] = time.time,
        say: Callable[[str], None] = print,
    ) -> None:
        super().__init__()
        self.clock, self.say = clock, say
        self.total = sum(jobs.values())
        self.left = Counter({rule: jobs[rule] for rule in timed if jobs.get(rule)})
        self.running: dict[int, _Job] = {}
        self.took: dict[str, list[float]] = {}  # seconds, by rule
        self.done = self.at_once = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Take up an event of Snakemake's; other messages pass."""
        match getattr(record, "event", None):
            case "job_info":
                words = map(str, record.wildcards.values())
                name = f"{record.rule_name} {'/'.join(words)}".strip()
                log = Path(record.log[0]) if record.log else None
                self.running[record.jobid] = _Job(record.rule_name, name, log, self.clock())
                timed = sum(job.rule in self.left for job in self.running.values())
                self.at_once = max(self.at_once, timed)
            case "job_finished":
                self.done += 1
                if job := self.running.pop(record.job_id, None):
                    self.took.setdefault(job.rule, []).append(self.clock() - job.since)
                    if job.rule in self.left:
                        self.left[job.rule] -= 1
                        self.say(f"{job.name}: {_last_line(job, self.clock())}")
            case "job_error":
                self.running.pop(record.jobid, None)

    def text(self) -> str:
        """Jobs done and time left, then a line for each job under way; empty where none is."""
        with self.lock:
            now = self.clock()
            lines = [f"{self.done} of {self.total} jobs are done; {self._time_left()}. Running:"]
            lines += [
                f"    {job.name}, {_minutes(now - job.since)}: {_last_line(job, now)}"
                for job in self.running.values()
            ]
        return "\n".join(lines) if self.running else ""

    def _time_left(self) -> str:
        """By the mean time of the jobs of each rule that ended, as many at once as ever ran."""
        left = {rule: count for rule, count in self.left.items() if count > 0}
        unknown = ", ".join(rule for rule in left if rule not in self.took)
        means = {rule: sum(took) / len(took) for rule, took in self.took.items() if rule in left}
        if left and not means:
            return f"time left is not known yet (no job of {unknown} has ended)"
        seconds = sum(mean * left[rule] for rule, mean in means.items())
        seconds -= sum(
            min(self.clock() - job.since, means.get(job.rule, 0)) for job in self.running.values()
        )
        found = f"about {_minutes(seconds / max(self.at_once, 1))} left"
        return f"{found}, without {unknown}, of which no job has ended" if unknown else found


def tell(jobs: RunningJobs, logger: logging.Logger, every: float = SECONDS) -> None:
    """Listen to Snakemake's logger and, as long as its process lives, tell it what jobs are at."""

    def keep_telling() -> None:
        while True:
            time.sleep(every)
            if text := jobs.text():
                logger.info(text)

    logger.addHandler(jobs)
    threading.Thread(target=keep_telling, daemon=True).start()


def _last_line(job: _Job, now: float) -> str:
    """The last line of the job's log, if it wrote any, and its age, if that says something."""
    try:
        if job.log is None or (written := job.log.stat().st_mtime) < job.since - 1:
            return "no word yet"
        with job.log.open("rb") as file:
            file.seek(max(0, job.log.stat().st_size - TAIL))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return "no word yet"
    line = next((line.strip() for line in reversed(lines) if line.strip()), "no word yet")
    return f"{line} ({_minutes(now - written)} ago)" if now - written >= 60 else line


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
