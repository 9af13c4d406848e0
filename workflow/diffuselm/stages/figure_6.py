"""Stage `render`: Figure 6, what tuning must not break."""

from collections.abc import Sequence
from pathlib import Path

from diffuselm.paper.figure_6 import render_figure_6


def run(*, metrics: Path, records: Sequence[Path], out: Path) -> None:
    """Render the figure into the folder `out`."""
    render_figure_6(metrics=metrics, records=records, out=out)
