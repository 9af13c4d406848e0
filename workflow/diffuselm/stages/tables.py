"""Stage `render`: every table as .csv, .md and .tex."""

from collections.abc import Sequence
from pathlib import Path

from diffuselm.errors import InputError
from diffuselm.files.provenance import read_json
from diffuselm.paper.diversity_tables import render_tables


def run(*, metrics: Path, records: Sequence[Path], published: Path, names: Path, out: Path) -> None:
    """Render the tables into the folder `out`; `names` is the run.json of the stage `names`."""
    source = read_json(names).get("label")
    if source is None:
        raise InputError(f"{names}: no 'label'; expected the run.json of the stage names")
    render_tables(
        metrics=metrics,
        records=records,
        published=published,
        natural_source=source,
        out=out,
    )
