"""Figures 1 and 3: the distributions before and after tuning, and entropy in leave-one-out."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from diffuselm.comparison import (
    Key,
    ModelRecord,
    Number,
    load_models,
    mean_over_seeds,
    ood_tuning,
    tasks_of,
)
from diffuselm.contracts import METRICS, NATURAL, SAMPLES, TARGETS, read_table
from diffuselm.errors import InputError
from diffuselm.figure_files import (
    BASE,
    IN_DISTRIBUTION,
    REFERENCE,
    STYLE,
    TUNED,
    WIDTH,
    plot_text,
    write_figure,
)
from diffuselm.metrics import outcomes

_TOP = 10
# Figure 1's two questions: title, prompt, and the tuning on that prompt alone.
_NAMES = ("Baby Names", "names/english", "only-names")
_NUMBERS = ("Random Numbers", "numbers/1-10", "rng-10")
_FIGURE_1 = ["model", "tuning", "prompt", "rank", "outcome", "count", "n", "share", "reference"]
_CONDITIONS = (
    ("base", "base", BASE),
    ("OOD", "tuned on the other tasks (OOD)", TUNED),
    ("ID", "tuned on the task (ID)", IN_DISTRIBUTION),
)
_REFERENCE_LABEL = "natural distribution, in its own order"
_FIGURE_3 = ["model", "task", "title", "condition", "tuning", "entropy", "ci_low", "ci_high", "n"]


def render_figure_1(
    *,
    samples: Sequence[Path],
    records: Sequence[Path],
    natural: Path,
    targets: Path,
    out: Path,
) -> None:
    """Write `out`/figure-1.png, .pdf and .csv: what models answer, most frequent answers first.

    `samples` are files `{model}/{tuning}.parquet` of base, only-names and rng-10, as far as they
    were run; `records` the models' JSON files in the order of the rows; `natural` the natural
    distribution of names; `targets` that of the numbers task. Raises InputError for bad inputs.
    """
    drawn = {(Path(path).parent.name, Path(path).stem): Path(path) for path in samples}
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
    data = figure_1_data(drawn, models, references)
    write_figure(Path(out) / "figure-1", _figure_1(data, models), data)


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


def figure_1_data(
    drawn: dict[tuple[str, str], Path],
    models: Sequence[ModelRecord],
    references: dict[str, dict[str, float]],
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
        for rank, (text, share) in enumerate(_falling(reference)[:_TOP], start=1):
            rows.append(("natural", "natural", prompt, rank, text, None, None, share, share))
        for model in models:
            for tuning in ("base", tuned):
                path = drawn.get((model.model, tuning))
                counts = _counts(path, prompt) if path else Counter()
                n = counts.total()
                shown = {text: counts[text] for text in among} if among and n else counts
                for rank, (text, count) in enumerate(_falling(shown)[:_TOP], start=1):
                    found = (text, count, n, count / n, reference.get(text, 0.0))
                    rows.append((model.model, tuning, prompt, rank, *found))
    frame = pd.DataFrame(rows, columns=_FIGURE_1)
    return frame.astype({"count": "Int64", "n": "Int64"})


def figure_3_data(numbers: dict[Key, Number], models: Sequence[ModelRecord]) -> pd.DataFrame:
    """Mean entropy (nats) of each task and model at base, OOD and ID; nulls where not run."""
    absent = Number(math.nan, math.nan, math.nan, None, None)
    rows = []
    for task, title in tasks_of(numbers).items():
        tunings = {"base": "base", "OOD": ood_tuning(task, numbers), "ID": f"only-{task}"}
        for model in models:
            for condition, tuning in tunings.items():
                found = numbers.get((model.model, tuning, task, None, "entropy"), absent)
                ends = (found.value, found.ci_low, found.ci_high, found.n)
                rows.append((model.model, task, title, condition, tuning, *ends))
    return pd.DataFrame(rows, columns=_FIGURE_3).astype({"n": "Int64"})


def _counts(path: Path, prompt: str) -> Counter[str]:
    samples = read_table(path, SAMPLES).to_pandas()
    asked = samples[samples["prompt"] == prompt]
    return Counter(outcomes(asked["value"].tolist(), asked["text"].tolist()))


def _falling(shares: dict[str, float]) -> list[tuple[str, float]]:
    """Most frequent first; ties by text, so that the order of draws never shows."""
    return sorted(shares.items(), key=lambda item: (-item[1], item[0]))


def _figure_1(data: pd.DataFrame, models: Sequence[ModelRecord]) -> Figure:
    """A row for each model; for each question a panel before tuning and one after."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.55 + 1.55 * max(len(models), 1)), layout="constrained")
        axes = figure.subplots(max(len(models), 1), 4, squeeze=False)
        for first, (title, prompt, tuned) in ((0, _NAMES), (2, _NUMBERS)):
            asked = data[data["prompt"] == prompt]
            reference = asked[asked["model"] == "natural"]["share"]
            axes[0, first].set_title(f"{title}, base")
            axes[0, first + 1].set_title(f"{title}, tuned")
            for row, model in enumerate(models):
                for panel, tuning in zip(axes[row, first:], ("base", tuned), strict=False):
                    own = asked[(asked["model"] == model.model) & (asked["tuning"] == tuning)]
                    _shares(panel, own, reference, BASE if tuning == "base" else TUNED)
                    # One scale for a question, so that a flat distribution looks flat.
                    panel.set_ylim(0, 1.15 * asked["share"].max())
                    panel.tick_params(labelleft=tuning == "base")
        for row, model in enumerate(models):
            axes[row, 0].set_ylabel(f"{_label(model)}\nshare of answers")
        handles = [
            Patch(color=BASE, label="base"),
            Patch(color=TUNED, label="tuned on this prompt"),
            Line2D([], [], color=REFERENCE, lw=1.2, label=_REFERENCE_LABEL),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _shares(panel: Axes, own: pd.DataFrame, reference: pd.Series, colour: str) -> None:
    """Bars of one distribution in falling order; the reference, in its own, as a line of steps."""
    edges = np.arange(len(reference) + 1) - 0.5
    panel.stairs(reference, edges, baseline=None, color=REFERENCE, lw=1.2, zorder=3)
    panel.set_xlim(-0.7, _TOP - 0.3)
    panel.grid(axis="y")
    panel.tick_params(axis="x", length=0, pad=1.5)
    corner = {"transform": panel.transAxes, "ha": "right", "va": "top", "fontsize": 6}
    if own.empty:
        panel.set_xticks([])
        panel.text(0.98, 0.98, "not run", **corner)
        return
    panel.bar(range(len(own)), own["share"], width=0.8, color=colour)
    labels = [plot_text(text, 12) for text in own["outcome"]]
    panel.set_xticks(range(len(own)), labels, rotation=90 if max(map(len, labels)) > 2 else 0)
    held = f"shown: {100 * own['share'].sum():.0f}% of {own['n'].iloc[0]:,}"
    panel.text(0.98, 0.98, held, **corner)


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
        handles = [Patch(color=colour, label=text) for _, text, colour in _CONDITIONS]
        figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _entropies(panel: Axes, data: pd.DataFrame, models: Sequence[ModelRecord]) -> None:
    places = np.arange(len(models))
    for i, (condition, _, colour) in enumerate(_CONDITIONS):
        bars = data[data["condition"] == condition]
        at = places + 0.27 * (i - 1)
        value = bars["entropy"].to_numpy()
        whiskers = [value - bars["ci_low"].to_numpy(), bars["ci_high"].to_numpy() - value]
        panel.bar(at, value, width=0.25, color=colour)
        panel.errorbar(
            at,
            value,
            np.clip(whiskers, 0, None),
            fmt="none",
            ecolor="black",
            elinewidth=0.7,
            capsize=1.2,
            capthick=0.7,
        )
        for x in at[np.isnan(value)]:
            panel.text(x, 0, "–", ha="center", va="bottom")
    _name_models(panel, places, [_label(model) for model in models])
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


def _label(model: ModelRecord) -> str:
    return (
        f"{plot_text(model.model, 16)} (stand-in)" if model.stand_in else plot_text(model.model, 24)
    )
