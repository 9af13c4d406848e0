"""Stage `biography-tables`: tables 1, 2, 3, 7 and 8 as .csv, .md and .tex."""

from collections.abc import Sequence
from pathlib import Path

from diffuselm.paper.biography_tables import render_biography_tables
from diffuselm.tasks.tasks import load_task


def run(
    *,
    metrics: Path,
    biographies: Sequence[Path],
    records: Sequence[Path],
    published: Path,
    task: Path,
    seed: int,
    out: Path,
) -> None:
    """Render the tables into the folder `out`; `task` is the file of the biographies' prompt."""
    render_biography_tables(
        metrics=metrics,
        biographies=biographies,
        records=records,
        published=published,
        prompt=load_task(task)[0].text,
        seed=seed,
        out=out,
    )
