"""Stage `render`: the paper's claims against our runs, with a verdict on each."""

from collections.abc import Sequence
from pathlib import Path

from diffuselm.paper.scorecard import render_scorecard


def run(
    *,
    metrics: Path,
    records: Sequence[Path],
    published: Path,
    claims: Path,
    names: Path,
    out: Path,
) -> None:
    """Write scorecard.parquet and scorecard.md into the folder `out`."""
    render_scorecard(
        metrics=metrics,
        records=records,
        published=published,
        claims=claims,
        names=names,
        out=out,
    )
