"""Figure 3: mean entropy of each task when it is left out of tuning."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffuselm.paper import drawing
from diffuselm.paper.comparison import (
    Models,
    Numbers,
    load_models,
    mean_over_seeds,
    ood_tuning,
    read_metrics,
    tasks_of,
)

_COLUMNS = ["model", "task", "title", "condition", "tuning", "entropy", "ci_low", "ci_high", "n"]


def figure_3(*, metrics: Path, records: list[Path], out: Path) -> None:
    """Write `out`/figure-3.png, .pdf and .csv: mean entropy of each task at base, OOD and ID.

    `metrics` is a file of `schemas.METRICS`, `records` the models' JSON files in the order of the
    bars. A run that is absent leaves a dash. Raises InputError for bad inputs.
    """
    models, numbers = load_models(records), mean_over_seeds(read_metrics(metrics))
    data = figure_3_data(numbers, models)
    drawing.write_figure(out, 3, _figure_3(data, models, list(tasks_of(numbers).values())), data)


def figure_3_data(numbers: Numbers, models: Models) -> pd.DataFrame:
    """Mean entropy (nats) of each task and model at baseline, OOD and ID; nulls where not run."""
    rows = []
    for task, title in tasks_of(numbers).items():
        tunings = {"base": "base", "OOD": ood_tuning(task, numbers), "ID": f"only-{task}"}
        for model in models:
            found = drawing.at_conditions(numbers, model, tunings, task, None, "entropy")
            rows.extend((model.model, task, title, *row) for row in found)
    return pd.DataFrame(rows, columns=_COLUMNS).astype({"n": "Int64"})


@drawing.in_style
def _figure_3(data: pd.DataFrame, models: Models, titles: Sequence[str]) -> Figure:
    """A panel for each task, three to a row; in it three bars for each model."""
    rows = max(math.ceil(len(titles) / 3), 1)
    # More than four names stand upright and take their room.
    figure = drawing.page(0.9 + (1.5 if len(models) <= 4 else 2.2) * rows)
    axes = figure.subplots(rows, 3, sharey=True, squeeze=False)
    names = [drawing.model_label(model) for model in models]
    for panel in axes.flat[len(titles) :]:
        panel.set_axis_off()
    for place, (panel, title) in enumerate(zip(axes.flat, titles, strict=False)):
        own = data[data["title"] == title].rename(columns={"entropy": "value"})
        drawing.draw_conditions(panel, own, names)
        _name_models(panel, names)
        panel.set_title(drawing.plot_text(title, 40))
        # Models are named where no panel stands below.
        panel.tick_params(labelbottom=place + 3 >= len(titles))
        panel.set_ylabel("entropy (nats)" if place % 3 == 0 else "")
    drawing.name_conditions(figure, drawing.baseline_text(models), "the task")
    return figure


def _name_models(panel: Axes, labels: Sequence[str]) -> None:
    """Level names where they fit, the mark of a stand-in below; else slanted or upright ones."""
    places = range(len(labels))
    stacked = [label.replace(" (", "\n(") for label in labels]
    # A panel is some 2 inches wide, and a character of a tick label 0.05.
    longest = max((len(line) for label in stacked for line in label.split("\n")), default=0)
    if 0.05 * longest * len(labels) < 2:
        panel.set_xticks(places, stacked)
    elif len(labels) <= 4:
        panel.set_xticks(places, labels, rotation=30, ha="right", rotation_mode="anchor")
    else:
        panel.set_xticks(places, labels, rotation=90)
