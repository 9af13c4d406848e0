"""Stage `render`: Figure 4, the diversity of biographies."""

from collections.abc import Sequence
from pathlib import Path

from diffuselm.paper.figure_4 import render_figure_4


def run(*, metrics: Path, records: Sequence[Path], out: Path) -> None:
    """Render the figure into the folder `out`."""
    render_figure_4(metrics=metrics, records=records, out=out)
