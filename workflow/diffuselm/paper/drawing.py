"""What all figures share: their look, labels, bars with whiskers, and writing them to files."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from diffuselm.files.whole import written_whole
from diffuselm.paper.comparison import ABSENT, Key, ModelRecord, Models, Numbers
from diffuselm.paper.table_files import one_line

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
# Decorates a function that draws.
in_style = mpl.rc_context(STYLE)
# Of figures 3, 4 and 5: before tuning, out of and in distribution.
CONDITIONS = {"base": BASE, "OOD": TUNED, "ID": IN_DISTRIBUTION}
# Left out of a file's metadata: dates and versions, which would make two runs differ.
_DATED = {".png": "Software", ".pdf": "CreationDate"}
_WHISKER = {"elinewidth": 0.7, "capsize": 1.2, "capthick": 0.7}


def plot_text(text: str, longest: int) -> str:
    """Make any string one line of at most `longest` characters that Matplotlib draws as it stands.

    `$` never starts mathematics, and a character that the font lacks becomes a box.
    """
    line = one_line(text)
    line = line if len(line) <= longest else line[: longest - 1].rstrip() + "…"
    drawn = "".join(c if ord(c) in _characters() else "\u25a1" for c in line)
    return drawn.replace("$", r"\$")


def model_label(model: ModelRecord, lines: int = 1) -> str:
    """The model's id, and a stand-in's mark: both on one line, or the mark on the second of two."""
    if not model.stand_in:
        return plot_text(model.model, 24)
    # On one line the mark takes its room from the id.
    longest, between = {1: (16, " "), 2: (24, "\n")}[lines]
    return f"{plot_text(model.model, longest)}{between}(stand-in)"


def page(height: float) -> Figure:
    """An empty figure, `height` in inches, as wide as two columns of a printed page."""
    return Figure(figsize=(7.0, height), layout="constrained")


def baseline_text(models: Models) -> str:
    """What a legend calls what the models' tunings are compared with."""
    baselines = {model.baseline for model in models}
    if baselines == {"form"}:
        return "form taught (baseline)"
    return "base" if baselines <= {"base"} else "baseline"


def draw_bars(
    panel: Axes, at: np.ndarray, rows: pd.DataFrame, colour: str, width: float = 0.25
) -> None:
    """Draw a bar for each row, centred `at`, shape (rows,), with its whisker; a dash for no value.

    `rows` has a `value` and its interval, `ci_low` to `ci_high`.
    """
    panel.bar(at, rows["value"], width=width, color=colour)
    draw_whiskers(panel, at, rows, fmt="none", ecolor="black")
    draw_dashes(panel, at[rows["value"].isna()])


def at_conditions(
    numbers: Numbers, model: ModelRecord, tunings: Mapping[str, str], *place: str | None
) -> Iterator[tuple]:
    """Condition, the tuning measured for it, value, interval and n; nulls where not run.

    `tunings` has the paper's tuning at each condition, `place` task, prompt and metric.
    """
    for condition, asked in tunings.items():
        tuning = model.measured_tuning(asked, place[0])
        number = numbers.get(Key(model.model, tuning, *place), ABSENT)
        yield (condition, tuning, *number[:4])


def draw_conditions(panel: Axes, data: pd.DataFrame, labels: Sequence[str]) -> None:
    """Draw a bar of each condition beside each label; `data` has them in the order of labels."""
    places = np.arange(len(labels))
    for i, (condition, colour) in enumerate(CONDITIONS.items()):
        draw_bars(panel, places + 0.27 * (i - 1), data[data["condition"] == condition], colour)
    panel.set_xticks(places, labels)
    panel.tick_params(axis="x", length=0)
    panel.set_xlim(-0.6, len(labels) - 0.4)
    panel.grid(axis="y")


def condition_labels(base: str, own: str) -> tuple[str, str, str]:
    """What to call the conditions where `own` names what is tuned on in distribution."""
    return base, "tuned on the other tasks (OOD)", f"tuned on {own} (ID)"


def name_conditions(figure: Figure, base: str, own: str) -> None:
    """Write a legend of the conditions above the panels."""
    labels = zip(CONDITIONS.values(), condition_labels(base, own), strict=True)
    handles = [Patch(color=colour, label=label) for colour, label in labels]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)


def draw_whiskers(panel: Axes, at: ArrayLike, rows: pd.DataFrame, **look: Any) -> None:
    """Draw each row's value as `look` says, with its interval."""
    panel.errorbar(at, rows["value"], whisker_lengths(rows), **_WHISKER | look)


def whisker_lengths(rows: pd.DataFrame) -> np.ndarray:
    """How far each interval reaches below and above its value, shape (2, rows).

    0 where an end is infinite and cannot be drawn; NaN, which draws nothing, without an interval.
    """
    ends = np.array([rows["value"] - rows["ci_low"], rows["ci_high"] - rows["value"]])
    return np.where(np.isinf(ends), 0, ends).clip(min=0)


def draw_dashes(panel: Axes, at: np.ndarray) -> None:
    """Mark where a run was not made, on the x axis."""
    for x in at:
        panel.text(x, 0, "–", ha="center", va="bottom", transform=panel.get_xaxis_transform())


def say_not_run(panel: Axes) -> None:
    """Say in the middle of a panel that it has nothing to show."""
    panel.text(0.5, 0.5, "not run", transform=panel.transAxes, ha="center", va="center")


def write_figure(out: Path, number: int | str, figure: Figure, data: pd.DataFrame) -> None:
    """Write `out`/figure-N.png (300 dpi), .pdf and .csv, each whole; same data, same bytes."""
    stem = f"figure-{number}"
    for kind in _DATED:
        save_figure(Path(out) / f"{stem}{kind}", figure)
    with written_whole(Path(out) / f"{stem}.csv") as part:
        # Answers may hold a bare carriage return, which only a quoted cell keeps.
        data.to_csv(part, index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as .png (300 dpi) or .pdf, whole; the same figure, the same bytes."""
    FigureCanvasAgg(figure)
    with mpl.rc_context(STYLE), written_whole(path) as part:
        figure.savefig(part, format=path.suffix[1:], dpi=300, metadata={_DATED[path.suffix]: None})


@cache
def _characters() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap())
