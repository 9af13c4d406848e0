"""Figure 4: how diverse biographies are, attribute by attribute and word by word."""

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
from diffuselm.files.runs import is_held
from diffuselm.paper.comparison import ModelRecord, Number, load_models, mean_over_seeds
from diffuselm.paper.figure_files import (
    BASE,
    IN_DISTRIBUTION,
    STYLE,
    TUNED,
    WIDTH,
    draw_bars,
    model_label,
    write_figure,
)

# Section 6's three models: condition, tuning, what a legend says, colour.
CONDITIONS = (
    ("base", "base", "base", BASE),
    ("OOD", "all", "tuned on the other tasks (OOD)", TUNED),
    ("ID", "biographies", "tuned on biographies (ID)", IN_DISTRIBUTION),
)
_PROMPT = "biographies/sketch"
# The panels' metrics, and the fields in each as they are labelled: (a) those of tables 7 and 8.
_PANELS = {
    "coverage": {
        "first_name": "first name",
        "last_name": "last name",
        "birth_year": "birth year",
        "birth_place": "birth place",
        "profession": "profession",
    },
    "unigram_diversity": {
        "accomplishment": "accomplishment",
        "biography": "whole biography",
    },
}
_TITLES = ("(a) attributes", "(b) words")
_AXES = ("coverage", "unigram diversity")
_COLUMNS = [
    "model",
    "metric",
    "field",
    "condition",
    "tuning",
    "value",
    "ci_low",
    "ci_high",
    "n",
]


def render_figure_4(*, metrics: Path, records: Sequence[Path], out: Path) -> None:
    """Write `out`/figure-4.png, .pdf and .csv: diversity of biographies at base, OOD and ID.

    `metrics` is a file of `contracts.METRICS`, `records` the models' JSON files in the order of the
    rows. A run that is absent leaves a dash. Raises InputError for bad inputs.
    """
    models = load_models(records)
    data = figure_4_data(read_table(metrics, METRICS).to_pandas(), models)
    write_figure(Path(out) / "figure-4", _figure_4(data, models), data)


def figure_4_data(metrics: pd.DataFrame, models: Sequence[ModelRecord]) -> pd.DataFrame:
    """Coverage (Eq. 4) of attributes and unigram diversity of texts; nulls where not run.

    Both are of valid biographies, `n` of them, all seeds together. Unigram diversity is the share
    of distinct words among all words.
    """
    absent = Number(math.nan, math.nan, math.nan, None, None)
    rows = []
    for metric, fields in _PANELS.items():
        for field in fields:
            # Seeds are averaged as for the answers of one value: each field stands for that value.
            own = metrics[(metrics["field"] == field) & (metrics["prompt"] == _PROMPT)]
            numbers = mean_over_seeds(own.assign(field="value"))
            for model in models:
                for condition, asked, *_ in CONDITIONS:
                    tuning = model.measured_tuning(asked, "biographies")
                    key = (model.model, tuning, "biographies", _PROMPT, metric)
                    found = numbers.get(key, absent)
                    ends = (found.value, found.ci_low, found.ci_high, found.n)
                    rows.append((model.model, metric, field, condition, tuning, *ends))
    return pd.DataFrame(rows, columns=_COLUMNS).astype({"n": "Int64"})


def _figure_4(data: pd.DataFrame, models: Sequence[ModelRecord]) -> Figure:
    """A row for each model: a panel of coverage, and one of unigram diversity."""
    with mpl.rc_context(STYLE):
        rows = max(len(models), 1)
        figure = Figure(figsize=(WIDTH, 0.6 + 1.6 * rows), layout="constrained")
        # One scale for a metric, so that models compare.
        axes = figure.subplots(rows, 2, sharey="col", squeeze=False, width_ratios=[5, 2])
        for row, model in enumerate(models):
            for column, (metric, fields) in enumerate(_PANELS.items()):
                panel = axes[row, column]
                own = data[(data["model"] == model.model) & (data["metric"] == metric)]
                _bars(panel, own, list(fields.values()))
                panel.set_ylabel(_AXES[column])
                panel.set_xlabel(_valid(own) if column == 0 else "", fontsize=6)
            axes[row, 0].set_ylabel(f"{model_label(model, lines=2)}\n{_AXES[0]}")
        for panel, title in zip(axes[0], _TITLES, strict=True):
            panel.set_title(title)
            panel.set_ylim(bottom=0)  # once all rows are drawn: it ends the scaling of the top
        handles = [Patch(color=colour, label=text) for _, _, text, colour in CONDITIONS]
        figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _bars(panel: Axes, data: pd.DataFrame, labels: Sequence[str]) -> None:
    """Three bars for each field, with their intervals."""
    places = np.arange(len(labels))
    for i, (condition, _, _, colour) in enumerate(CONDITIONS):
        bars = data[data["condition"] == condition]
        draw_bars(panel, places + 0.27 * (i - 1), bars, colour)
    panel.set_xticks(places, labels)
    panel.tick_params(axis="x", length=0)
    panel.set_xlim(-0.6, len(labels) - 0.4)
    panel.grid(axis="y")


def _valid(data: pd.DataFrame) -> str:
    """How many biographies each condition's coverage is of: it grows with their number."""
    counts = data.groupby("condition", sort=False)["n"].max()
    shown = [f"{'–' if pd.isna(n) else f'{n:,}'} {condition}" for condition, n in counts.items()]
    held = "all held to the form; " if data["tuning"].map(is_held).all() else ""
    return f"{held}valid biographies: {', '.join(shown)}"
