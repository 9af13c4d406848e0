"""Figure 1: what models answer before and after tuning, beside the natural distribution."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from diffuselm.errors import InputError
from diffuselm.files.schemas import NATURAL, SAMPLES, TARGETS
from diffuselm.files.tables import read_table
from diffuselm.measure.metrics import outcomes
from diffuselm.paper import drawing
from diffuselm.paper.comparison import Models, RunFiles, by_model_and_tuning, falling, load_models
from diffuselm.tasks.prompts import task_of

_TOP = 10
# The two questions: title, prompt, and the tuning on that prompt alone.
_NAMES = ("Baby Names", "names/english", "only-names")
_NUMBERS = ("Random Numbers", "numbers/1-10", "rng-10")
_COLUMNS = ["model", "tuning", "prompt", "rank", "outcome", "count", "n", "share", "reference"]


def figure_1(
    *, samples: list[Path], records: list[Path], natural: Path, targets: Path, out: Path
) -> None:
    """Write `out`/figure-1.png, .pdf and .csv: what models answer, most frequent answers first.

    `samples` are files `{model}/{tuning}.parquet` of the baseline, only-names and rng-10, as far as
    they were run; `records` the models' JSON files in the order of the rows; `natural` the natural
    distribution of names; `targets` that of the numbers task. Raises InputError for bad inputs.
    """
    models = load_models(records)
    names = read_table(natural, NATURAL).to_pandas()
    numbers = read_table(targets, TARGETS).to_pandas()
    numbers = numbers[numbers["prompt"] == _NUMBERS[1]]
    if names.empty or numbers.empty:
        empty = f"{natural}: no names" if names.empty else f"{targets}: no prompt {_NUMBERS[1]}"
        raise InputError(f"{empty}, expected a distribution to compare with")
    references = {
        _NAMES[1]: dict(zip(names["name"], names["probability"], strict=True)),
        _NUMBERS[1]: dict(zip(numbers["text"], numbers["weight"], strict=True)),
    }
    data = figure_1_data(by_model_and_tuning(samples), models, references)
    drawing.write_figure(out, 1, _figure_1(data, models), data)


def figure_1_data(
    drawn: RunFiles, models: Models, references: dict[str, dict[str, float]]
) -> pd.DataFrame:
    """Shares of the answers, sorted down, of each model and tuning and of the reference itself.

    Names: the ten most frequent outcomes (an answer without value counts by its text). Numbers: the
    ten targets, whatever else was answered. `references` give each prompt's natural probabilities;
    `reference` is that of the outcome. The reference's own rows have model and tuning "natural".
    """
    rows: list[tuple] = []
    for _, prompt, tuned in (_NAMES, _NUMBERS):
        reference = references[prompt]
        among = reference if prompt == _NUMBERS[1] else None
        for rank, (text, share) in enumerate(falling(reference)[:_TOP], start=1):
            rows.append(("natural", "natural", prompt, rank, text, None, None, share, share))
        for model in models:
            for tuning in (model.measured_tuning("base", task_of(prompt)), tuned):
                path = drawn.get((model.model, tuning))
                counts = _counts(path, prompt) if path else Counter()
                n = counts.total()
                shown = {text: counts[text] for text in among} if among and n else counts
                for rank, (text, count) in enumerate(falling(shown)[:_TOP], start=1):
                    found = (text, count, n, count / n, reference.get(text, 0.0))
                    rows.append((model.model, tuning, prompt, rank, *found))
    return pd.DataFrame(rows, columns=_COLUMNS).astype({"count": "Int64", "n": "Int64"})


def _counts(path: Path, prompt: str) -> Counter[str]:
    samples = read_table(path, SAMPLES).to_pandas()
    asked = samples[samples["prompt"] == prompt]
    return Counter(outcomes(asked["value"].tolist(), asked["text"].tolist()))


@drawing.in_style
def _figure_1(data: pd.DataFrame, models: Models) -> Figure:
    """A row for each model; for each question a panel before tuning and one after."""
    rows = max(len(models), 1)
    figure = drawing.page(0.55 + 1.55 * rows)
    axes = figure.subplots(rows, 4, squeeze=False)
    for first, (title, prompt, tuned) in ((0, _NAMES), (2, _NUMBERS)):
        asked = data[data["prompt"] == prompt]
        reference = asked[asked["model"] == "natural"]["share"]
        before = "base" if drawing.baseline_text(models) == "base" else "baseline"
        axes[0, first].set_title(f"{title}, {before}")
        axes[0, first + 1].set_title(f"{title}, tuned")
        for row, model in enumerate(models):
            before = model.measured_tuning("base", task_of(prompt))
            for panel, tuning in zip(axes[row, first:], (before, tuned), strict=False):
                own = asked[(asked["model"] == model.model) & (asked["tuning"] == tuning)]
                _shares(panel, own, reference, drawing.BASE if tuning == before else drawing.TUNED)
                # One scale for a question, so that a flat distribution looks flat.
                panel.set_ylim(0, 1.15 * asked["share"].max())
                panel.tick_params(labelleft=tuning == before)
            axes[row, 0].set_ylabel(f"{drawing.model_label(model)}\nshare of answers")
    natural = "natural distribution, in its own order"
    handles = [
        Patch(color=drawing.BASE, label=drawing.baseline_text(models)),
        Patch(color=drawing.TUNED, label="tuned on this prompt"),
        Line2D([], [], color=drawing.REFERENCE, lw=1.2, label=natural),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _shares(panel: Axes, own: pd.DataFrame, reference: pd.Series, colour: str) -> None:
    """Bars of one distribution in falling order; the reference, in its own, as a line of steps."""
    edges = np.arange(len(reference) + 1) - 0.5
    panel.stairs(reference, edges, baseline=None, color=drawing.REFERENCE, lw=1.2, zorder=3)
    panel.set_xlim(-0.7, _TOP - 0.3)
    panel.grid(axis="y")
    panel.tick_params(axis="x", length=0, pad=1.5)
    corner = {"transform": panel.transAxes, "ha": "right", "va": "top", "fontsize": 6}
    if own.empty:
        panel.set_xticks([])
        panel.text(0.98, 0.98, "not run", **corner)
        return
    panel.bar(range(len(own)), own["share"], width=0.8, color=colour)
    labels = [drawing.plot_text(text, 12) for text in own["outcome"]]
    panel.set_xticks(range(len(own)), labels, rotation=90 if max(map(len, labels)) > 2 else 0)
    held = f"shown: {100 * own['share'].sum():.0f}% of {own['n'].iloc[0]:,}"
    panel.text(0.98, 0.98, held, **corner)
