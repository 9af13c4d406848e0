"""Figure 2: tuned on two ranges of numbers, asked for others in other words."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from diffuselm.paper import drawing
from diffuselm.paper.comparison import Models, load_models, read_metrics
from diffuselm.paper.ranges_by_size import TASK, figure_2_data

_PANELS = {
    "formats": "(a) highest number asked for; the lowest is 1",
    "sizes": "(b) how many numbers the range holds; the lowest is random",
}
# How the line of each tuning is drawn, in the order of the legend.
_LINES = {
    "rng-10": {"color": (drawing.TUNED, 0.5), "marker": "^", "mfc": "white", "lw": 0.7},
    "rng-100": {"color": (drawing.TUNED, 0.5), "marker": "s", "mfc": "white", "lw": 0.7},
    "base": {"color": drawing.BASE, "marker": "o", "mfc": drawing.BASE, "lw": 1.1},
    "rng-both": {"color": drawing.TUNED, "marker": "o", "mfc": drawing.TUNED, "lw": 1.1},
}


def figure_2(*, metrics: Path, records: list[Path], out: Path) -> None:
    """Write `out`/figure-2.png, .pdf and .csv: entropy over ranges of numbers by their size.

    `metrics` is a file of `schemas.METRICS`, `records` the models' JSON files in the order of the
    rows. A run that is absent leaves no line, a model without any says so. Raises InputError for
    bad inputs.
    """
    models, data = load_models(records), figure_2_data(read_metrics(metrics))
    drawing.write_figure(out, 2, _figure_2(data, models), data)


@drawing.in_style
def _figure_2(data: pd.DataFrame, models: Models) -> Figure:
    """For each model entropies above and the mass in the range below; panel (a) left, (b) right."""
    figure = drawing.page(0.9 + 2.1 * len(models))
    axes = figure.subplots(
        2 * len(models), 2, sharex="col", height_ratios=[1.5, 0.7] * len(models), squeeze=False
    )
    # One top for all panels, so that models compare; answers off the range may pass log n.
    shown = data[data["quantity"] != "target_mass"][["mean", "ci_high"]].to_numpy()
    highest = max([1.0, *np.log(data["n"]), *shown[np.isfinite(shown)]])
    for row, model in enumerate(models):
        entropies, masses = axes[2 * row], axes[2 * row + 1]
        for panel, above, below in zip(_PANELS, entropies, masses, strict=True):
            own = data[(data["model"] == model.model) & (data["panel"] == panel)]
            own = own.replace({"tuning": {model.measured_tuning("base", TASK): "base"}})
            above.grid(axis="y")
            below.grid(axis="y")
            _entropies(above, own)
            above.set_ylim(0, 1.08 * highest)
            _lines(below, own, "target_mass", "-")
            below.set_ylim(0, 1.08)
            _size_axis(below, data[data["panel"] == panel]["n"])
            if panel == "formats":
                _mark_tuned_highs(below)
            if row == len(models) - 1:
                below.set_xlabel(_PANELS[panel])
        entropies[0].set_title(drawing.plot_text(model.label, 90), loc="left")
        entropies[0].set_ylabel("entropy (nats)")
        masses[0].set_ylabel("P(in range)")
    figure.legend(handles=_handles(models), loc="outside upper center", ncols=4)
    return figure


def _entropies(panel: Axes, data: pd.DataFrame) -> None:
    """Entropy of samples and exact, under the entropy of a uniform answer."""
    if data.empty:
        drawing.say_not_run(panel)
        return
    _lines(panel, data, "entropy", "-")
    _lines(panel, data, "entropy_exact", ":")
    n = np.geomspace(data["n"].min(), data["n"].max())
    panel.plot(n, np.log(n), color=drawing.REFERENCE, lw=0.8, zorder=1.5)


def _lines(panel: Axes, data: pd.DataFrame, quantity: str, style: str) -> None:
    """A line for each tuning: solid with its markers and intervals, or dotted and bare."""
    for tuning, look in _LINES.items():
        line = data[(data["tuning"] == tuning) & (data["quantity"] == quantity)].sort_values("n")
        line = line.rename(columns={"mean": "value"})
        if style == ":":
            panel.plot(line["n"], line["value"], ls=style, color=look["color"], lw=look["lw"])
            continue
        drawing.draw_whiskers(panel, line["n"], line, **look, ms=3, mew=0.7, capsize=1.5)


def _size_axis(panel: Axes, n: pd.Series) -> None:
    """Logarithmic, and wide enough around any n for a tick at one of 1, 2 and 5 in each decade."""
    if n.empty:
        return
    panel.set_xscale("log")
    panel.set_xlim(n.min() / 1.6, n.max() * 1.6)
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))


def _mark_tuned_highs(panel: Axes) -> None:
    low, high = panel.get_xlim()
    on_axis = {"transform": panel.get_xaxis_transform(), "clip_on": False, "zorder": 4}
    for n in (10, 100):
        if low <= n <= high:
            panel.plot(n, 0, "k^", ms=4, **on_axis)


def _handles(models: Models) -> list[Line2D]:
    before = drawing.baseline_text(models)
    labels = ("tuned on 1 to 10", "tuned on 1 to 100", before, "tuned on both")
    lines = zip(labels, _LINES.values(), strict=True)
    return [
        *(Line2D([], [], ms=3, label=label, **look) for label, look in lines),
        Line2D([], [], color=drawing.REFERENCE, lw=0.8, label="uniform: log n"),
        Line2D([], [], color="black", ls=":", lw=1.1, label="exact, of answers in range"),
        Line2D([], [], color="black", ls="", marker="^", ms=4, label="high of a tuned range"),
    ]
