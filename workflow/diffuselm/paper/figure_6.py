"""Figure 6: what tuning must not break, as scores of a judge, knowledge and held-out text."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from diffuselm.measure.intervals import interval_of_mean
from diffuselm.paper import drawing
from diffuselm.paper.comparison import Models, load_models, mean_over_seeds, read_metrics

_METRICS = {
    "mt-bench": {"judge_score", "judged_rate"},
    "knowledge": {"target_mass", "target_rate"},
    "text": {"loss_per_token"},
}
_FRAME = {
    **dict.fromkeys(("model", "tuning", "task", "group", "metric"), "str"),
    **dict.fromkeys(("value", "ci_low", "ci_high"), "float64"),
    "n": "int64",
}
_SAMPLED = {"ls": "", "color": "black", "marker": "D", "mfc": "white", "ms": 2.5, "mew": 0.7}
_OTHER = {"ls": "", "color": (drawing.TUNED, 0.5), "marker": "o", "ms": 2.5, "mew": 0.7}
# The two tunings that appendix B.5 compares, before and after tuning on all tasks; their colours.
Colours = Mapping[str, str]


def figure_6(*, metrics: Path, records: list[Path], out: Path) -> None:
    """Write `out`/figure-6.png, .pdf and .csv: general abilities before and after tuning.

    `metrics` is a file of `schemas.METRICS`, `records` the models' JSON files in the order of the
    rows. Without rows of MT-Bench the figure says that no judge was configured; a run that is
    absent leaves a dash. Raises InputError for bad inputs.
    """
    models, data = load_models(records), figure_6_data(read_metrics(metrics))
    drawing.write_figure(out, 6, _figure_6(data, models), data)


def figure_6_data(metrics: pd.DataFrame) -> pd.DataFrame:
    """Scores by category, accuracies by kind of question, and loss on text (appendix B.5).

    `metrics` are rows of `schemas.METRICS`. One row for each model, tuning, task, group and
    metric found, sorted by these. A group is a category of `mt-bench`, a kind of `knowledge` (its
    prompts' slugs up to their first hyphen), or "" for the task as a whole. Values are averaged
    over seeds, then over the group's prompts, with the 95% interval for these very questions; n is
    the total. Metrics: `judge_score` (1 to 10), `judged_rate`, `target_mass` (exact accuracy),
    `target_rate` (accuracy of samples), `loss_per_token` (nats).
    """
    groups = defaultdict(list)
    for (model, tuning, task, prompt, metric), number in mean_over_seeds(metrics).items():
        if metric in _METRICS.get(task, ()):
            slug = (prompt or "").partition("/")[2]
            group = slug.partition("-")[0] if task == "knowledge" else slug
            groups[model, tuning, task, group, metric].append(number)
    rows = []
    for key, numbers in sorted(groups.items()):
        values = [number.value for number in numbers]
        mean = math.fsum(values) / len(values)
        low, high = interval_of_mean(values, [number[1:3] for number in numbers])
        # Rounding must not leave a value outside its own interval.
        rows.append((*key, mean, min(low, mean), max(high, mean), sum(n for *_, n, _ in numbers)))
    return pd.DataFrame(rows, columns=list(_FRAME)).astype(_FRAME)


@drawing.in_style
def _figure_6(data: pd.DataFrame, models: Models) -> Figure:
    """A row for each model: scores of the judge, where there is one, knowledge, and text."""
    drawn = [("mt-bench", _scores, 2.2), ("knowledge", _knowledge, 1.6), ("text", _losses, 2.4)]
    judged = (data["task"] == "mt-bench").any()
    tasks, draws, widths = zip(*drawn[0 if judged else 1 :], strict=True)
    figure = drawing.page(1.3 + 1.5 * len(models))
    axes = figure.subplots(
        len(models), len(tasks), sharex="col", width_ratios=widths, squeeze=False
    )
    for row, model in zip(axes, models, strict=True):
        for panel, task, draw in zip(row, tasks, draws, strict=True):
            of_task = data[data["task"] == task]
            own = of_task[of_task["model"] == model.model]
            panel.grid(axis="y")
            panel.tick_params(axis="x", length=0)
            before = model.measured_tuning("base", task)
            draw(panel, own, of_task, {before: drawing.BASE, "all": drawing.TUNED})
            if of_task.empty:
                drawing.say_not_run(panel)
        row[0].set_title(drawing.plot_text(model.label, 90), loc="left")
    if not judged:
        figure.supxlabel("MT-Bench: no judge configured", fontsize=7)
    figure.legend(handles=_handles(models), loc="outside upper center", ncols=4)
    return figure


def _scores(panel: Axes, own: pd.DataFrame, of_task: pd.DataFrame, compared: Colours) -> None:
    """Score of each category of MT-Bench, and last their mean."""
    categories = [*sorted(set(of_task["group"]) - {""}), ""]
    scores = own[own["metric"] == "judge_score"]
    for at, rows, colour in _beside(scores, categories, compared, (-0.2, 0.2)):
        drawing.draw_bars(panel, at, rows, colour, width=0.38)
    labels = [drawing.plot_text(category, 14) or "mean" for category in categories]
    panel.set_xticks(range(len(labels)), labels, rotation=90)
    panel.set_ylim(0, 10.4)
    panel.set_ylabel("judge's score")


def _knowledge(panel: Axes, own: pd.DataFrame, of_task: pd.DataFrame, compared: Colours) -> None:
    """Exact accuracy of each kind as bars, base, `all` and others; that of samples as diamonds."""
    kinds = sorted(set(of_task["group"]) - {""})
    exact, sampled = (own[own["metric"] == name] for name in ("target_mass", "target_rate"))
    *places, place_of_others = -0.27, 0.0, 0.27
    for at, rows, colour in _beside(exact, kinds, compared, places):
        drawing.draw_bars(panel, at, rows, colour)
    for at, rows, _ in _beside(sampled, kinds, compared, places):
        drawing.draw_whiskers(panel, at, rows, **_SAMPLED)
    others = exact[~exact["tuning"].isin({*compared, "base"}) & exact["group"].isin(kinds)]
    at = [kinds.index(kind) + place_of_others for kind in others["group"]]
    panel.plot(at, others["value"], **_OTHER)
    labels = [drawing.plot_text(kind, 14) for kind in kinds]
    panel.set_xticks(range(len(kinds)), labels, rotation=0 if len(kinds) <= 4 else 90)
    panel.set_ylim(0, 1.04)
    panel.set_ylabel("accuracy")


def _losses(panel: Axes, own: pd.DataFrame, of_task: pd.DataFrame, compared: Colours) -> None:
    """Loss per token of each tuning, base and `all` first, over a line at base's."""
    tunings = [*compared, *sorted(set(of_task["tuning"]) - compared.keys())]
    rows = own.set_index("tuning").reindex(tunings)
    panel.axhline(rows["value"]["base"], color=drawing.BASE, lw=0.7, ls="--")
    for place, tuning in enumerate(tunings):
        marks = _OTHER | {"color": compared.get(tuning, _OTHER["color"]), "ms": 3.5}
        drawing.draw_whiskers(panel, place, rows.loc[[tuning]], **marks)
    if len(of_task):
        drawing.draw_dashes(panel, np.flatnonzero(rows["value"].isna()))
    panel.set_xticks(range(len(tunings)), [drawing.plot_text(t, 24) for t in tunings], rotation=90)
    panel.set_xlim(-0.6, len(tunings) - 0.4)
    panel.set_ylabel("loss per token (nats)")
    if own.empty:
        panel.set_yticks([])


def _beside(
    scores: pd.DataFrame, groups: Sequence[str], compared: Colours, places: Sequence[float]
) -> Iterator[tuple[np.ndarray, pd.DataFrame, str]]:
    """Of each tuning: its place beside each group, its score in each, null if none, its colour."""
    for (tuning, colour), place in zip(compared.items(), places, strict=True):
        rows = scores[scores["tuning"] == tuning].set_index("group")
        ends = rows[["value", "ci_low", "ci_high"]].reindex(groups)
        yield np.arange(len(groups)) + place, ends, colour


def _handles(models: Models) -> list[Patch | Line2D]:
    baseline = drawing.baseline_text(models)
    before = baseline if baseline == "base" else f"base; in knowledge, {baseline}"
    return [
        Patch(color=drawing.BASE, label=before),
        Patch(color=drawing.TUNED, label="tuned on all tasks"),
        Line2D([], [], **_OTHER, label="other tunings"),
        Line2D([], [], **_SAMPLED, label="accuracy of samples"),
    ]
