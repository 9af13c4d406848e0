"""Stage `render`: scorecard and tables as pages of the report."""

from collections.abc import Sequence
from pathlib import Path

from diffuselm.paper.report_pages import render_pages


def run(*, tables: Sequence[Path], out: Path) -> None:
    """Write a page for each of the Markdown files `tables` into the folder `out`."""
    render_pages(tables, out)
