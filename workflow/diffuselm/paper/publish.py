"""Results to keep in a repository: scorecard, tables 4 to 11, figures 1 to 4, 7 and 8, those of
one's own tasks, and what made them."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffuselm.errors import InputError
from diffuselm.files.json_files import read_json
from diffuselm.files.tables import read_table
from diffuselm.files.whole import written_whole
from diffuselm.paper.biographies import COLUMNS
from diffuselm.paper.job_times import read_job_times, seconds_on, waits_for
from diffuselm.paper.templating import filled

FIRST = ("scorecard.md", "tables/table-of-tasks.md", "tables/table-10.md")  # each run has one
FILES = (
    *FIRST,
    *(f"tables/table-{number}.md" for number in range(4, 12)),
    "method-times.md",
    *(f"figures/figure-{number}.png" for number in (1, 2, 3, 4, 7, 8)),
    "figures/figure-of-tasks.png",
)
LARGEST = 3 * 2**20  # bytes, of all files
CORES = (2, 8)
LONGEST = 8  # jobs in the list of the longest
_LINK = re.compile(r"!?\[([^\]]*)\]\(([^)\s]+)\)")


def publish(*, results: Path, out: Path) -> None:
    """Write those of FILES that `results` has, without sub-folders, and README.md into `out`.

    What is left of earlier ones goes. Raises InputError, and then writes nothing, where there is
    none of FIRST or all are larger than LARGEST.
    """
    there = [name for name in FILES if (results / name).is_file()]
    if not set(FIRST) & set(there):
        raise InputError(
            f"{results}: found none of {', '.join(FIRST)}; expected the results of a run"
        )
    made = {Path(name).name: _content(results, name, there) for name in there}
    made["README.md"] = _readme(results, made).encode()
    size = sum(map(len, made.values()))
    if size > LARGEST:
        raise InputError(
            f"{results}: {size / 2**20:.1f} MiB to publish; expected at most {LARGEST / 2**20:.0f}"
        )
    for name, content in made.items():
        with written_whole(out / name) as part:
            part.write_bytes(content)
    for name in {Path(name).name for name in FILES} - set(made):
        (out / name).unlink(missing_ok=True)


def _content(results: Path, name: str, there: Sequence[str]) -> bytes:
    content = (results / name).read_bytes()
    if not name.endswith(".md"):
        return content
    folder = os.path.dirname(name)  # noqa: PTH120 (paths inside of `results`)

    def relinked(link: re.Match[str]) -> str:
        text, target = link.groups()
        if re.match(r"[a-z]+:|#", target):
            return link[0]
        path = os.path.normpath(os.path.join(folder, target))  # noqa: PTH118
        return link[0].replace(f"({target})", f"({Path(path).name})") if path in there else text

    return _LINK.sub(relinked, content.decode("utf-8")).encode()


def _readme(results: Path, made: Mapping[str, Any]) -> str:
    """What made the results, from the run.json beside them and Snakemake's job times."""
    records = [read_json(file) for file in sorted(results.glob("**/*run.json"))]
    records = [record for record in records if "libraries" in record]  # of one that ran a model
    jobs = read_job_times(results)
    waits = waits_for(jobs, results)
    text = filled(
        "results.md.jinja",
        pages=[name for name in made if name.endswith(".md")],
        figures=[name for name in made if name.endswith(".png")],
        stem=lambda name: Path(name).stem,
        biographies=list(_biographies(results)),
        made_by=list(_made_by(records)) if records else [],
        jobs=jobs,
        computed={cores: seconds_on(jobs, waits, cores) for cores in CORES},
        largest=max(jobs, key=lambda job: job.memory_mib, default=None),
        longest=sorted(jobs, key=lambda job: -job.seconds)[:LONGEST],
        minutes=lambda seconds: f"{seconds / 60:.1f}",
    )
    return f"{text.rstrip()}\n"


def _biographies(results: Path) -> Iterator[str]:
    """How many biographies of each run are as asked, and what is wrong with most of the rest."""
    for file in sorted(results.glob("records/biographies/*/*.parquet")):
        written = read_table(file, COLUMNS).to_pandas()
        valid, problems = written["valid"], written["problem"].value_counts()
        whose = f"{file.parent.name}, {file.stem}"
        text = f"{whose}: {valid.sum():,} of {len(valid):,} have six fields in order"
        if not valid.all():
            text += f"; of the others most: {problems.index[0]} ({problems.iloc[0]:,})"
        if valid.mean() < 0.5:
            text += ". Under this tuning the model does not keep the form of a biography."
        yield text


def _made_by(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each thing; of several that differ, all."""

    def all_of(value: Any) -> str:
        return "; ".join(sorted({str(value(record)) for record in records}))

    def commit(record: Mapping[str, Any]) -> str:
        dirty = {True: "with changes not committed", False: "clean", None: "not known if clean"}
        return f"{record['commit'] or 'not known'} ({dirty[record['dirty']]})"

    def machine(record: Mapping[str, Any]) -> str:
        if not (found := record.get("machine")):
            return "not recorded"
        memory = found["memory_bytes"] / 2**30
        return f"{found['cpu']}, {found['cores']} cores, {memory:.0f} GiB of memory"

    yield f"commit: {all_of(commit)}"
    yield f"diffuselm {all_of(lambda record: record['diffuselm'])}"
    yield f"Python {all_of(lambda record: record['python'])} on {all_of(lambda r: r['platform'])}"
    for name in records[0]["libraries"]:
        yield f"{name} {all_of(lambda record, name=name: record['libraries'].get(name))}"
    yield f"machine: {all_of(machine)}"
    yield f"device: {all_of(lambda record: record['device'])}"
