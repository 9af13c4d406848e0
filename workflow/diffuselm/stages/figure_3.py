"""Stage `render`: Figure 3, entropy when a task is left out of tuning."""

from collections.abc import Sequence
from pathlib import Path

from diffuselm.paper.figure_3 import render_figure_3


def run(*, metrics: Path, records: Sequence[Path], out: Path) -> None:
    """Render the figure into the folder `out`."""
    render_figure_3(metrics=metrics, records=records, out=out)
