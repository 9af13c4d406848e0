"""Figure 4: how diverse biographies are, attribute by attribute and word by word."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from diffuselm.files.runs import is_held
from diffuselm.paper import drawing
from diffuselm.paper.biographies import FIELDS, PROMPT, TASK, TUNINGS
from diffuselm.paper.comparison import Models, load_models, mean_over_seeds, read_metrics

# The panels' metrics, and the fields in each as they are labelled: (a) those of tables 7 and 8.
_PANELS = {
    "coverage": {field: label for field, label in FIELDS.items() if field != "gender"},
    "unigram_diversity": {"accomplishment": "accomplishment", "biography": "whole biography"},
}
_COLUMNS = ["model", "metric", "field", "condition", "tuning", "value", "ci_low", "ci_high", "n"]


def figure_4(*, metrics: Path, records: list[Path], out: Path) -> None:
    """Write `out`/figure-4.png, .pdf and .csv: diversity of biographies at base, OOD and ID.

    `metrics` is a file of `schemas.METRICS`, `records` the models' JSON files in the order of the
    rows. A run that is absent leaves a dash. Raises InputError for bad inputs.
    """
    models = load_models(records)
    data = figure_4_data(read_metrics(metrics), models)
    drawing.write_figure(out, 4, _figure_4(data, models), data)


def figure_4_data(metrics: pd.DataFrame, models: Models) -> pd.DataFrame:
    """Coverage (Eq. 4) of attributes and unigram diversity of texts; nulls where not run.

    Both are of valid biographies, `n` of them, all seeds together. Unigram diversity is the share
    of distinct words among all words.
    """
    asked = metrics[metrics["prompt"] == PROMPT]
    rows = []
    for metric, fields in _PANELS.items():
        for field in fields:
            numbers = mean_over_seeds(asked, field)
            for model in models:
                found = drawing.at_conditions(numbers, model, TUNINGS, TASK, PROMPT, metric)
                rows.extend((model.model, metric, field, *row) for row in found)
    return pd.DataFrame(rows, columns=_COLUMNS).astype({"n": "Int64"})


@drawing.in_style
def _figure_4(data: pd.DataFrame, models: Models) -> Figure:
    """A row for each model: a panel of coverage, and one of unigram diversity."""
    rows = max(len(models), 1)
    figure = drawing.page(0.6 + 1.6 * rows)
    # One scale for a metric, so that models compare.
    axes = figure.subplots(rows, 2, sharey="col", squeeze=False, width_ratios=[5, 2])
    for row, model in enumerate(models):
        for panel, (metric, fields) in zip(axes[row], _PANELS.items(), strict=True):
            own = data[(data["model"] == model.model) & (data["metric"] == metric)]
            drawing.draw_conditions(panel, own, list(fields.values()))
            panel.set_ylabel(metric.replace("_", " "))
            if metric == "coverage":
                panel.set_ylabel(f"{drawing.model_label(model, lines=2)}\ncoverage")
                panel.set_xlabel(_valid(own), fontsize=6)
    for panel, title in zip(axes[0], ("(a) attributes", "(b) words"), strict=True):
        panel.set_title(title)
        panel.set_ylim(bottom=0)  # once all rows are drawn: it ends the scaling of the top
    drawing.name_conditions(figure, "base", "biographies")
    return figure


def _valid(data: pd.DataFrame) -> str:
    """How many biographies each condition's coverage is of: it grows with their number."""
    counts = data.groupby("condition", sort=False)["n"].max()
    shown = [f"{'–' if pd.isna(n) else f'{n:,}'} {condition}" for condition, n in counts.items()]
    held = "all held to the form; " if data["tuning"].map(is_held).all() else ""
    return f"{held}valid biographies: {', '.join(shown)}"
