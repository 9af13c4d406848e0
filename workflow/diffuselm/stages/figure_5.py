"""Stage `render`: Figure 5, birth places on maps of the world."""

from collections.abc import Sequence
from pathlib import Path

from diffuselm.paper.figure_5 import render_figure_5


def run(*, biographies: Sequence[Path], records: Sequence[Path], out: Path) -> None:
    """Render the figure into the folder `out`."""
    render_figure_5(biographies=biographies, records=records, out=out)
