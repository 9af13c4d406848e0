"""Figure 7: how widely each method spreads its answers, against how many keep the form."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.optimize import isotonic_regression

from diffuselm.paper import drawing
from diffuselm.paper.comparison import TASK_TITLES, Models, load_models
from diffuselm.paper.methods import CONTROL, MEAN, method_frame, read_methods
from diffuselm.paper.number_tables import RAW
from diffuselm.paper.own_tasks import of_targets
from diffuselm.tasks.prompts import Prompt, task_of
from diffuselm.tasks.target_sets import read_prompts

_GREEN, _PINK = (seaborn.color_palette("colorblind").as_hex()[at] for at in (2, 4))
LOOKS = {
    CONTROL: {"color": drawing.BASE, "marker": "o"},
    "decoding": {"color": drawing.IN_DISTRIBUTION, "marker": "s"},
    "prompting": {"color": _GREEN, "marker": "^"},
    "training": {"color": drawing.TUNED, "marker": "D"},
    "outside": {"color": _PINK, "marker": "v"},
}
_SHOWN = ("valid_rate", "entropy_valid", "cost_read", "cost_written")
_ACROSS, _LINE = 3, 0.085  # panels beside each other; inches of a number in the margin
_COSTS = (10, 100, 1000)  # tokens for each valid distinct answer, in the legend
_AREA = 1.5  # square points for the root of one token: costs differ by orders of magnitude
_COLUMNS = ["model", "task", "title", "line", "way", "method", "tuning", "answers"]
_COLUMNS += ["valid_rate", "entropy_valid", "ci_low", "ci_high", "cost", "target"]


def figure_7(
    *, metrics: Path, records: list[Path], targets: list[Path], methods: str, out: Path
) -> None:
    """Write `out`/figure-7.png, .pdf and .csv: see `tables_9` for what goes in."""
    models, prompts = load_models(records), read_prompts(targets)
    data = figure_7_data(method_frame(metrics, models, prompts, read_methods(methods)), prompts)
    drawing.write_figure(out, 7, _figure_7(data, models), data)


def figure_7_data(frame: pd.DataFrame, prompts: Sequence[Prompt]) -> pd.DataFrame:
    """A row for each model, task and line of a `methods.FRAME`.

    `ci_low` and `ci_high` are of the entropy of valid answers (nats), `cost` are the tokens read
    and written for each valid distinct answer, `target` is the entropy of the targets.
    """
    rows = []
    of_tasks = frame[(frame["task"] != MEAN) & frame["metric"].isin(_SHOWN)]
    for _, own in of_tasks.groupby(["model", "task", "line"], sort=False):
        first, task = own.iloc[0], own["task"].iloc[0]
        by = own.set_index("metric")[["value", "ci_low", "ci_high"]]
        if by["value"].isna().all():
            continue
        about = (first["model"], task, TASK_TITLES.get(task, task))
        about += tuple(first[["line", "way", "method", "tuning", "answers"]])
        cost = by.at["cost_read", "value"] + by.at["cost_written", "value"]
        target = of_targets([p for p in prompts if task_of(p.id) == task], None)["entropy"]
        rate, spread = by.at["valid_rate", "value"], by.loc["entropy_valid"]
        rows.append((*about, rate, *spread, cost, target))
    return pd.DataFrame(rows, columns=_COLUMNS)


@drawing.in_style
def _figure_7(data: pd.DataFrame, models: Models) -> Figure:
    """A panel for each model and task, and the names of the numbers in them below."""
    tasks, named = data["title"].unique(), data.drop_duplicates("line")
    across = max(math.ceil(len(tasks) / _ACROSS), 1)
    tall = max(1.8, 0.4 + _LINE * len(named))
    below = 0.13 * math.ceil(len(named) / 3) + 0.9
    figure = drawing.page(across * len(models) * tall + below)
    axes = figure.subplots(across * max(len(models), 1), _ACROSS, squeeze=False)
    for panel in axes.flat:
        panel.set_axis_off()
    for i, model in enumerate(models):
        for panel, title in zip(axes[i * across :].flat, tasks, strict=False):
            panel.set_axis_on()
            own = data[(data["model"] == model.model) & (data["title"] == title)]
            _draw(panel, own, tall)
            above = [drawing.model_label(model)] if len(models) > 1 else []
            above.append(drawing.plot_text(title, 30))
            for rate in own.loc[own["method"] == RAW, "valid_rate"]:
                above.append(f"base as it is: {rate:.0%} valid")
            panel.set_title("\n".join(above))
        for panel in axes[i * across : (i + 1) * across, 0]:
            panel.set_ylabel("entropy of valid answers (nats)")
    _name(figure, named)
    return figure


def _draw(panel: Axes, own: pd.DataFrame, tall: float) -> None:
    """A mark for each line, its number in the margin; the targets' entropy as a line."""
    shown = own.dropna(subset="entropy_valid").sort_values("entropy_valid", kind="stable")
    for way, of_way in shown.groupby("way"):
        look, sizes = LOOKS[way], _AREA * np.sqrt(of_way["cost"])
        place = of_way["valid_rate"], of_way["entropy_valid"]
        ends = drawing.whisker_lengths(of_way.assign(value=of_way["entropy_valid"]))
        panel.errorbar(*place, ends, fmt="none", ecolor=look["color"], elinewidth=0.5, alpha=0.5)
        panel.scatter(*place, sizes, alpha=0.6, linewidths=0, **look)
    panel.axhline(own["target"].iloc[0], color=drawing.REFERENCE, linewidth=0.8)
    low = np.fmin(shown["valid_rate"].min(), 0.99)
    room = max(0.06 * (1 - low), 0.002)
    panel.set_xlim(low - room, 1 + room)
    panel.set_xticks([tick for tick in panel.get_xticks() if low - room <= tick <= 1])
    panel.set_ylim(0, 1.08 * np.fmax(shown["ci_high"].max(), own["target"].iloc[0]))
    panel.set_xlabel("valid rate")
    panel.grid()
    heights = _apart(shown["entropy_valid"].to_numpy() / panel.get_ylim()[1], _LINE / (tall - 0.4))
    for height, row in zip(heights, shown.itertuples(), strict=True):
        colour = LOOKS[row.way]["color"]
        panel.annotate(
            str(row.line),
            (row.valid_rate, row.entropy_valid),
            (1.04, height),
            textcoords="axes fraction",
            fontsize=5.5,
            va="center",
            arrowprops={"arrowstyle": "-", "linewidth": 0.3, "color": colour, "shrinkA": 0},
        )


def _apart(wanted: np.ndarray, gap: float) -> np.ndarray:
    """Rising heights of 0 to 1, at least `gap` apart, near those wanted, which rise."""
    steps = gap * np.arange(len(wanted))
    found = isotonic_regression(wanted - steps).x if len(wanted) else wanted
    return found.clip(0, 1 - steps[-1:]) + steps


def _name(figure: Figure, named: pd.DataFrame) -> None:
    """Legends: of marks and sizes above the panels, of numbers below them."""
    bare = {"linestyle": "none", "markeredgewidth": 0}
    shown = named[named["method"] != RAW]
    marks = [
        Line2D([], [], **look, **bare, markersize=4, label="no method" if way == CONTROL else way)
        for way, look in LOOKS.items()
        if way in set(shown["way"])
    ]
    own = {"color": drawing.REFERENCE, "linewidth": 0.8, "label": "the targets' own entropy"}
    marks.append(Line2D([], [], **own))
    for cost in _COSTS:
        look = {"marker": "o", "color": "black", "alpha": 0.6, "label": f"{cost:,} tokens"}
        marks.append(Line2D([], [], **look, **bare, markersize=(_AREA * cost**0.5) ** 0.5))
    figure.legend(handles=marks, loc="outside upper center", ncols=4)
    # Entropy grows with the number of answers.
    usual = shown["answers"].mode()[0]
    names = [
        Line2D([], [], **LOOKS[row.way], **bare, markersize=3, label=f"{row.line}  {label}{fewer}")
        for row in shown.itertuples()
        for label in [drawing.plot_text(row.method, 40)]
        for fewer in [f" (n = {row.answers})" if row.answers != usual else ""]
    ]
    figure.legend(handles=names, loc="outside lower center", ncols=3, fontsize=6)
