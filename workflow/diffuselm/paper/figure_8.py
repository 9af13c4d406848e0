"""Figure 8: what changes with one setting of our training, or with nearness to the base."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from diffuselm.paper import drawing
from diffuselm.paper.comparison import Models, load_models
from diffuselm.paper.curves import Curve, curves_of
from diffuselm.paper.methods import (
    BASE,
    MEAN,
    OF_LISTED,
    OF_TASKS,
    TAUGHT,
    method_frame,
    read_methods,
)
from diffuselm.tasks.target_sets import read_prompts

# Of each setting: the metrics that it changes, a panel each, and what stands below the panel.
PANELS = {
    "rank": (("entropy_valid", "kl"), "rank of the adapter"),
    "targets": (("coverage_valid", "unlisted_mass"), "targets listed in training"),
    "strength": (("entropy_valid",), "knowledge"),
}
_MARK = {"marker": "o", "markersize": 3, "linewidth": 1}
_COLUMNS = ["model", "curve", "setting", "tuned_on", "at", "tuning", "task", "metric"]
_COLUMNS += ["value", "ci_low", "ci_high", "n", "knowledge"]


def figure_8(
    *, metrics: Path, records: list[Path], targets: list[Path], methods: str, out: Path
) -> None:
    """Write `out`/figure-8.png, .pdf and .csv: see `tables_9` for what goes in."""
    models, known = load_models(records), read_methods(methods)
    curves = curves_of({tuning: asdict(method) for tuning, method in known.items()})
    frame = method_frame(metrics, models, read_prompts(targets), known)
    data = figure_8_data(frame, curves)
    drawing.write_figure(out, 8, _figure_8(data, models), data)


def figure_8_data(frame: pd.DataFrame, curves: Sequence[Curve]) -> pd.DataFrame:
    """A row for each model, curve, point and metric of a `methods.FRAME`, and of the baseline.

    Of what is tuned on one task, the numbers are that task's, else the mean over tasks. The
    baseline has no place `at` which it stands.
    """
    baseline = frame.loc[frame["method"].isin((BASE, TAUGHT)), "tuning"].unique()
    rows = []
    for number, curve in enumerate(curves, start=1):
        task = curve.tuned_on[0] if len(curve.tuned_on) == 1 else MEAN
        at = {tuning: place for place, tuning in curve.tunings.items()}
        at |= dict.fromkeys(baseline)
        own = frame[(frame["task"] == task) & frame["tuning"].isin(at)]
        for (model, tuning), of_run in own.groupby(["model", "tuning"], sort=False):
            by = of_run.set_index("metric")
            knowledge = by.at["knowledge", "value"]
            tasks = ", ".join(curve.tuned_on)
            for metric in PANELS[curve.setting][0]:
                about = (model, number, curve.setting, tasks, at[tuning], tuning, task, metric)
                numbers = (by.at[metric, each] for each in ("value", "ci_low", "ci_high", "n"))
                rows.append((*about, *numbers, knowledge))
    return pd.DataFrame(rows, columns=_COLUMNS).astype({"at": "float64", "n": "Int64"})


@drawing.in_style
def _figure_8(data: pd.DataFrame, models: Models) -> Figure:
    """The panels of each model's curves, three to a row."""
    there = set(data["setting"])
    panels = [(each, m) for each, (its, _) in PANELS.items() if each in there for m in its]
    high = max(math.ceil(len(panels) / 3), 1)
    figure = drawing.page(0.4 + 1.8 * high * max(len(models), 1))
    axes = figure.subplots(high * max(len(models), 1), 3, squeeze=False)
    for panel in axes.flat:
        panel.set_axis_off()
    for i, model in enumerate(models):
        of_model = data[data["model"] == model.model]
        for panel, (setting, metric) in zip(axes[i * high :].flat, panels, strict=False):
            panel.set_axis_on()
            own = of_model[(of_model["setting"] == setting) & (of_model["metric"] == metric)]
            _draw(panel, own, setting)
            panel.set_xlabel(PANELS[setting][1])
            panel.set_ylabel((OF_TASKS | OF_LISTED)[metric][0])
        axes[i * high, 0].set_title(drawing.model_label(model), loc="left")
    names = {drawing.TUNED: "ours", drawing.BASE: drawing.baseline_text(models)}
    marks = [Line2D([], [], color=color, label=name, **_MARK) for color, name in names.items()]
    figure.legend(handles=marks, loc="outside upper right", ncols=2)
    return figure


def _draw(panel: Axes, own: pd.DataFrame, setting: str) -> None:
    """The curves of a setting; the baseline as a line, or where it stands."""
    frontier = setting == "strength"
    before, points = own[own["at"].isna()], own.dropna(subset="at")
    for _, curve in points.groupby("curve", sort=False):
        curve = curve.sort_values("at")
        at = curve["knowledge" if frontier else "at"]
        drawing.draw_whiskers(panel, at, curve, color=drawing.TUNED, **_MARK)
        for place, value, strength in zip(at, curve["value"], curve["at"], strict=True):
            if frontier:
                text = {"textcoords": "offset points", "fontsize": 5.5}
                panel.annotate(f"{strength:g}", (place, value), (3, 3), **text)
    if frontier:
        look = {"color": drawing.BASE, "linestyle": "none"}
        drawing.draw_whiskers(panel, before["knowledge"], before, **_MARK | look)
    else:
        for value in before["value"].dropna().unique():
            panel.axhline(value, color=drawing.BASE, linewidth=0.8)
        panel.set_xscale("log", base=2)
        ticks = sorted(points["at"].unique())
        panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.set_ylim(bottom=0)
    panel.grid()
