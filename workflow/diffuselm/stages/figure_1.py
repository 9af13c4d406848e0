"""Stage `render`: Figure 1, answers before and after tuning."""

from collections.abc import Sequence
from pathlib import Path

from diffuselm.paper.figure_1 import render_figure_1


def run(
    *,
    samples: Sequence[Path],
    records: Sequence[Path],
    natural: Path,
    targets: Path,
    out: Path,
) -> None:
    """Render the figure into the folder `out`."""
    render_figure_1(samples=samples, records=records, natural=natural, targets=targets, out=out)
