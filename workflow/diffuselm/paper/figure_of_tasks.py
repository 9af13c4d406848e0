"""The figure of tasks that are not the paper's: every metric of each, before and after tuning."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from diffuselm.measure.metrics import up_to_one
from diffuselm.paper import drawing
from diffuselm.paper.comparison import Models, load_models, mean_over_seeds, read_metrics
from diffuselm.paper.number_tables import HELD_BASE, RAW
from diffuselm.paper.own_tasks import (
    BASELINE,
    IN,
    METRICS,
    OUT,
    conditions_of,
    task_frame,
)
from diffuselm.tasks.target_sets import read_prompts

_LOOKS = {
    RAW: {"color": drawing.BASE, "marker": "x"},
    HELD_BASE: {"color": drawing.BASE, "marker": "o", "markerfacecolor": "white"},
    BASELINE: {"color": drawing.BASE, "marker": "o"},
    OUT: {"color": drawing.TUNED, "marker": "s"},
    IN: {"color": drawing.IN_DISTRIBUTION, "marker": "D"},
}
# Inches: from mark to mark of a line, between lines, and of the name of a task above its models.
_LANE, _GAP, _NAME = 0.075, 0.1, 0.2
_TALLEST = 200  # inches, beyond which there would be too many dots for an image


def figure_of_tasks(*, metrics: Path, records: list[Path], targets: list[Path], out: Path) -> None:
    """Write `out`/figure-of-tasks.png, .pdf and .csv: see `tables_of_tasks` for what goes in.

    A panel for each metric; in it a line for each task and model, and a mark for each tuning.
    """
    models, numbers = load_models(records), mean_over_seeds(read_metrics(metrics))
    frame = task_frame(numbers, models, read_prompts(targets))
    drawing.write_figure(out, "of-tasks", _figure_of_tasks(frame, models), frame)


@drawing.in_style
def _figure_of_tasks(frame: pd.DataFrame, models: Models) -> Figure:
    looks, lines = _looks(conditions_of(frame)), _lines(frame)
    heights = np.array([_LANE * len(looks) + _GAP if model else _NAME for _, model in lines])
    at = dict(zip(lines, np.cumsum(heights) - heights / 2, strict=True))
    figure = drawing.page(min(0.9 + heights.sum(), _TALLEST))
    panels = figure.subplots(1, len(METRICS), sharey=True)
    for panel, metric in zip(panels, METRICS, strict=True):
        _draw(panel, frame[frame["metric"] == metric], looks, at)
        panel.set_title(METRICS[metric][0])
        _scale(panel, metric)
    _name_lines(panels[0], at, models)
    panels[0].set_ylim(heights.sum(), 0)
    _name_looks(figure, looks, drawing.baseline_text(models).capitalize())
    return figure


def _looks(conditions: Sequence[str]) -> dict[str, dict]:
    """How each condition is marked, in order."""
    others = [condition for condition in conditions if condition not in _LOOKS]
    colours = seaborn.color_palette("husl", len(others)).as_hex()
    further = {
        other: {"color": colour, "marker": "^"}
        for other, colour in zip(others, colours, strict=True)
    }
    return {name: look for name, look in (_LOOKS | further).items() if name in conditions}


def _lines(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Task and model of each line from the top; the name of a task stands above its models."""
    lines = []
    for task, own in frame.groupby("task", sort=False):
        lines += [(task, ""), *((task, model) for model in own["model"].unique())]
    return lines


def _draw(
    panel: Axes, rows: pd.DataFrame, looks: Mapping[str, dict], at: Mapping[tuple[str, str], float]
) -> None:
    """A mark with its interval for each row, a lane for each condition; the target's as a line."""
    half = _LANE * len(looks) / 2
    lanes = _LANE / 2 + _LANE * np.arange(len(looks)) - half
    for lane, (condition, look) in zip(lanes, looks.items(), strict=True):
        own = rows[rows["condition"] == condition]
        y = np.array([at[key] for key in zip(own["task"], own["model"], strict=True)]) + lane
        finite = np.isfinite(own["value"].to_numpy())
        ends = drawing.whisker_lengths(own)[:, finite]
        style = {"linestyle": "none", "markersize": 3.2, "elinewidth": 0.7, "capsize": 1.2}
        panel.errorbar(own["value"][finite], y[finite], xerr=ends, zorder=3, **style | look)
        for place in y[np.isinf(own["value"])]:
            across = panel.get_yaxis_transform()
            panel.text(
                1, place, "∞", color=look["color"], ha="right", va="center", transform=across
            )
    first = rows.drop_duplicates(["task", "model"])
    y = np.array([at[key] for key in zip(first["task"], first["model"], strict=True)])
    panel.vlines(first["target"], y - half, y + half, color=drawing.REFERENCE, linewidth=1.2)
    panel.grid(axis="x")
    panel.tick_params(axis="y", length=0)


def _scale(panel: Axes, metric: str) -> None:
    """Shares from 0 to 1, coverage in powers of ten, all else from 0."""
    if up_to_one(metric):
        panel.set_xlim(-0.05, 1.05)
    elif metric == "coverage":
        panel.set_xscale("log")
        panel.set_xlim(0.8, max(3, panel.get_xlim()[1]))
        panel.xaxis.set(major_locator=LogLocator(subs=(1, 3)), major_formatter="{x:,.0f}")
        panel.xaxis.set_minor_locator(NullLocator())
    else:
        panel.set_xlim(left=min(-0.05 * panel.get_xlim()[1], 0))


def _name_lines(panel: Axes, at: Mapping[tuple[str, str], float], models: Models) -> None:
    labels = {model.model: drawing.model_label(model) for model in models}
    texts = [labels[model] if model else drawing.plot_text(task, 28) for task, model in at]
    panel.set_yticks(list(at.values()), texts)
    for (_, model), label in zip(at, panel.get_yticklabels(), strict=True):
        if not model:
            label.set(fontweight="bold", fontsize=7)


def _name_looks(figure: Figure, looks: Mapping[str, dict], baseline: str) -> None:
    """A legend above the panels."""
    handles = [
        Line2D([], [], **{"linestyle": "none", "markersize": 4} | look, label=label)
        for condition, look in looks.items()
        for label in [baseline if condition == BASELINE else drawing.plot_text(condition, 40)]
    ]
    target = Line2D([], [], color=drawing.REFERENCE, linewidth=1.2, label="The targets' own")
    figure.legend(handles=[*handles, target], loc="outside upper center", ncols=3)
