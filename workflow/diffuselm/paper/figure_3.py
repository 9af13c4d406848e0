"""Figure 3: mean entropy of each task when it is left out of tuning."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from diffuselm.files.contracts import METRICS, read_table
from diffuselm.paper.comparison import (
    Key,
    ModelRecord,
    Number,
    load_models,
    mean_over_seeds,
    ood_tuning,
    tasks_of,
)
from diffuselm.paper.figure_files import (
    BASE,
    IN_DISTRIBUTION,
    STYLE,
    TUNED,
    WIDTH,
    baseline_text,
    draw_bars,
    model_label,
    plot_text,
    write_figure,
)

# Condition, what a legend says, colour.
_CONDITIONS = (
    ("base", "{baseline}", BASE),
    ("OOD", "tuned on the other tasks (OOD)", TUNED),
    ("ID", "tuned on the task (ID)", IN_DISTRIBUTION),
)
_COLUMNS = ["model", "task", "title", "condition", "tuning", "entropy", "ci_low", "ci_high", "n"]


def render_figure_3(*, metrics: Path, records: Sequence[Path], out: Path) -> None:
    """Write `out`/figure-3.png, .pdf and .csv: mean entropy of each task at base, OOD and ID.

    `metrics` is a file of `contracts.METRICS`, `records` the models' JSON files in the order of the
    bars. A run that is absent leaves a dash. Raises InputError for bad inputs.
    """
    numbers = mean_over_seeds(read_table(metrics, METRICS).to_pandas())
    models = load_models(records)
    data = figure_3_data(numbers, models)
    titles = list(tasks_of(numbers).values())
    write_figure(Path(out) / "figure-3", _figure_3(data, models, titles), data)


def figure_3_data(numbers: dict[Key, Number], models: Sequence[ModelRecord]) -> pd.DataFrame:
    """Mean entropy (nats) of each task and model at baseline, OOD and ID; nulls where not run."""
    absent = Number(math.nan, math.nan, math.nan, None, None)
    rows = []
    for task, title in tasks_of(numbers).items():
        tunings = {"base": "base", "OOD": ood_tuning(task, numbers), "ID": f"only-{task}"}
        for model in models:
            for condition, asked in tunings.items():
                tuning = model.measured_tuning(asked, task)
                found = numbers.get((model.model, tuning, task, None, "entropy"), absent)
                ends = (found.value, found.ci_low, found.ci_high, found.n)
                rows.append((model.model, task, title, condition, tuning, *ends))
    return pd.DataFrame(rows, columns=_COLUMNS).astype({"n": "Int64"})


def _figure_3(data: pd.DataFrame, models: Sequence[ModelRecord], titles: Sequence[str]) -> Figure:
    """A panel for each task, three to a row; in it three bars for each model."""
    with mpl.rc_context(STYLE):
        rows = max(math.ceil(len(titles) / 3), 1)
        # More than four names stand upright and take their room.
        height = 1.5 if len(models) <= 4 else 2.2
        figure = Figure(figsize=(WIDTH, 0.9 + height * rows), layout="constrained")
        axes = figure.subplots(rows, 3, sharey=True, squeeze=False)
        for place, panel in enumerate(axes.flat):
            if place >= len(titles):
                panel.set_axis_off()
                continue
            _entropies(panel, data[data["title"] == titles[place]], models)
            panel.set_title(plot_text(titles[place], 40))
            # Models are named where no panel stands below.
            panel.tick_params(labelbottom=place + 3 >= len(titles))
            panel.set_ylabel("entropy (nats)" if place % 3 == 0 else "")
        baseline = baseline_text(models)
        handles = [
            Patch(color=colour, label=text.format(baseline=baseline))
            for _, text, colour in _CONDITIONS
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _entropies(panel: Axes, data: pd.DataFrame, models: Sequence[ModelRecord]) -> None:
    """Three bars for each model."""
    places = np.arange(len(models))
    for i, (condition, _, colour) in enumerate(_CONDITIONS):
        bars = data[data["condition"] == condition]
        draw_bars(panel, places + 0.27 * (i - 1), bars, colour, column="entropy")
    _name_models(panel, places, [model_label(model) for model in models])
    panel.tick_params(axis="x", length=0)
    panel.set_xlim(-0.6, len(models) - 0.4)
    panel.grid(axis="y")


def _name_models(panel: Axes, places: np.ndarray, labels: Sequence[str]) -> None:
    """Level names where they fit, the mark of a stand-in below; else slanted or upright ones."""
    stacked = [label.replace(" (", "\n(") for label in labels]
    # A panel is some 2 inches wide, and a character of a tick label 0.05.
    longest = max((len(line) for label in stacked for line in label.split("\n")), default=0)
    if 0.05 * longest * len(labels) < 2:
        panel.set_xticks(places, stacked)
    elif len(labels) <= 4:
        panel.set_xticks(places, labels, rotation=30, ha="right", rotation_mode="anchor")
    else:
        panel.set_xticks(places, labels, rotation=90)
