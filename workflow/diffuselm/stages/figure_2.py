"""Stage `render`: Figure 2, random numbers from other ranges and in other words."""

from collections.abc import Sequence
from pathlib import Path

from diffuselm.paper.figure_2 import render_figure_2


def run(*, metrics: Path, records: Sequence[Path], out: Path) -> None:
    """Render the figure into the folder `out`."""
    render_figure_2(metrics=metrics, records=records, out=out)
