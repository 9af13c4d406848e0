"""What each method of a run took of its time, as a page of the report."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from diffuselm.files.runs import METHOD, is_method, split_run
from diffuselm.files.whole import written_whole
from diffuselm.paper.job_times import JobTime, read_job_times, seconds_on, waits_for
from diffuselm.paper.table_files import escape_markdown, markdown_rows
from diffuselm.paper.templating import filled

_CORES = (1, 2)
_HEADS = ("model", "method", "tuning", "sampling", "together", "share of the run")
_REST = ("all", "everything else")


def method_times(*, results: Path, out: Path) -> None:
    """Write `out`, Markdown: CPU minutes of each method's jobs, as they noted them in `results`."""
    jobs = read_job_times(results)
    waits = waits_for(jobs, results)
    whole = sum(job.cpu_seconds for job in jobs)
    text = filled(
        "method_times.md.jinja",
        table=markdown_rows(_HEADS, list(_rows(jobs, whole))),
        jobs=len(jobs),
        whole=_minutes(whole),
        computed={cores: _minutes(seconds_on(jobs, waits, cores)) for cores in _CORES},
    )
    with written_whole(out) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def _rows(jobs: Sequence[JobTime], whole: float) -> Iterator[list[str]]:
    """A row for each model and method, the longest first, and one for all else."""
    took: dict[tuple[str, str], dict[str, float]] = {}
    for job in jobs:
        stage, *place = job.name.split("/")
        tuning = split_run(place[-1], 0)[0]
        key = (place[0], tuning.removeprefix(METHOD)) if is_method(tuning) else _REST
        of_stages = took.setdefault(key, {})
        of_stages[stage] = of_stages.get(stage, 0.0) + job.cpu_seconds
    together = {key: sum(of_stages.values()) for key, of_stages in took.items()}
    for key in sorted(took, key=lambda key: (key == _REST, -together[key], key)):
        stages = (_minutes(took[key].get(stage, 0.0)) for stage in ("tune", "sample"))
        share = f"{together[key] / whole:.1%}"
        yield [*map(escape_markdown, key), *stages, _minutes(together[key]), share]


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}"
