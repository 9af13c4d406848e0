"""What all figures share: their look, text that stays text, and writing .png, .pdf and .csv."""

import csv
import unicodedata
from functools import cache
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import seaborn
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from diffuselm.contracts import written_whole

# Two columns of a printed page, in inches.
WIDTH = 7.0
# Of the colour-blind palette: grey before tuning, blue after, orange for in-distribution, and
# vermilion for what a person would expect.
_COLOURS = seaborn.color_palette("colorblind").as_hex()
BASE, TUNED, IN_DISTRIBUTION, REFERENCE = (_COLOURS[i] for i in (7, 0, 1, 3))
STYLE = {
    # Matplotlib brings this font along, so that every machine draws the same bytes.
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "pdf.fonttype": 42,
}


def plot_text(text: str, longest: int) -> str:
    """Make any string one line of at most `longest` characters that Matplotlib draws as it stands.

    `$` never starts mathematics, control characters are dropped, and a character that the font
    lacks becomes a box.
    """
    line = " ".join(text.split())
    line = "".join(c for c in line if not unicodedata.category(c).startswith("C"))
    line = line if len(line) <= longest else line[: longest - 1].rstrip() + "…"
    drawn = "".join(c if ord(c) in _characters() else "\u25a1" for c in line)
    return drawn.replace("$", r"\$")


def write_figure(stem: Path, figure: Figure, data: pd.DataFrame) -> None:
    """Write `stem`.png (300 dpi), .pdf (fonts embedded) and .csv, each whole and reproducible."""
    FigureCanvasAgg(figure)
    # The dates and versions that would make two runs differ.
    left_out = {"png": {"Software": None}, "pdf": {"CreationDate": None}}
    for kind, metadata in left_out.items():
        with mpl.rc_context(STYLE), written_whole(stem.with_name(f"{stem.name}.{kind}")) as part:
            figure.savefig(part, format=kind, dpi=300, metadata=metadata)
    with written_whole(stem.with_name(f"{stem.name}.csv")) as part:
        # Answers may hold a bare carriage return, which only a quoted cell keeps.
        data.to_csv(part, index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)


@cache
def _characters() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap())
