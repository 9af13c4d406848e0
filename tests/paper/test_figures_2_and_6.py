"""Figures 2 and 6: the numbers behind them, what they say of absent runs, and their bytes."""

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

from diffuselm.errors import InputError
from diffuselm.files.schemas import METRICS
from diffuselm.files.tables import write_rows
from diffuselm.paper.comparison import ModelRecord
from diffuselm.paper.figure_2 import _figure_2, figure_2
from diffuselm.paper.figure_6 import _figure_6, figure_6, figure_6_data
from diffuselm.paper.ranges_by_size import figure_2_data

MODELS = [ModelRecord("m", True, None), ModelRecord("absent-model-of-70-billion", False, None)]
NO_JUDGE = "MT-Bench: no judge configured"


def row(tuning: str, prompt: str, metric: str, value: float, **changes) -> dict:
    """A row of metrics; a prompt `task/` stands for the task as a whole."""
    task, _, slug = prompt.partition("/")
    return {
        "model": "m",
        "tuning": tuning,
        "task": task,
        "prompt": prompt if slug else None,
        "field": "value",
        "metric": metric,
        "value": value,
        "ci_low": value - 0.1,
        "ci_high": value + 0.2,
        "n": 100,
        "seed": 1,
    } | changes


def ranges() -> list[dict]:
    return [
        row(tuning, prompt, metric, value * (1 + 0.01 * i))
        for tuning, value in (("base", 0.5), ("rng-10", 0.6), ("rng-both", 0.9))
        for i in range(1, 6)
        for n in (10, 45, 100)
        for prompt in (f"ranges/format-{i}-to-{n}", f"ranges/size-{n}-version-{i}")
        for metric in ("entropy", "entropy_exact", "target_mass")
    ]


def abilities() -> list[dict]:
    return [
        *(
            row(tuning, f"knowledge/{slug}", metric, 0.5)
            for tuning in ("base", "all", "only-names")
            for slug in ("capital-france", "capital-peru", "sum-1-2", "days-june")
            for metric in ("target_mass", "target_rate")
        ),
        *(row(tuning, "text/", "loss_per_token", 2.5) for tuning in ("base", "all", "only-names")),
    ]


def judged() -> list[dict]:
    return [
        row(tuning, prompt, "judge_score", 6.0)
        for tuning in ("base", "all")
        for prompt in ("mt-bench/writing-essays", "mt-bench/$\\frac{x$", "mt-bench/")
    ]


def frame(rows: list[dict]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=METRICS.names)


def inputs(folder: Path, rows: list[dict]) -> dict:
    write_rows(folder / "metrics.parquet", rows, METRICS)
    for model in MODELS:
        record = {"model": model.model, "stand_in": model.stand_in, "paper_model": None}
        (folder / f"{model.model}.json").write_text(json.dumps(record))
    records = [folder / f"{model.model}.json" for model in MODELS]
    return {"metrics": folder / "metrics.parquet", "records": records}


def texts(figure: Figure) -> list[str]:
    figure.set_dpi(50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FigureCanvasAgg(figure).draw()
    return [text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text"))]


def test_prompts_of_figure_2_count_by_how_many_integers_they_hold():
    data = figure_2_data(frame(ranges()))
    assert set(zip(data["panel"], data["n"], strict=True)) == {
        (panel, n) for panel in ("formats", "sizes") for n in (10, 45, 100)
    }
    assert (data["prompts"] == 5).all()
    apart = ("size-5-version-1", "format-2-to-9")
    data = figure_2_data(frame([row("base", f"ranges/{slug}", "entropy", 1.0) for slug in apart]))
    assert dict(zip(data["panel"], data["n"], strict=True)) == {"formats": 9, "sizes": 5}


def test_the_interval_of_figure_2_is_a_t_interval_over_prompts():
    values = [1.0, 1.5, 1.2, 0.9, 1.4]
    rows = [row("base", f"ranges/format-{i}-to-45", "entropy", v) for i, v in enumerate(values, 1)]
    (found,) = figure_2_data(frame(rows)).itertuples()
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert (found.mean, found.ci_low, found.ci_high) == pytest.approx((1.2, low, high))


def test_seeds_are_averaged_before_prompts():
    rows = [
        row("base", "ranges/format-1-to-45", "entropy", 1.0, seed=1),
        row("base", "ranges/format-1-to-45", "entropy", 2.0, seed=2),
        row("base", "ranges/format-2-to-45", "entropy", 3.5, seed=1),
    ]
    (found,) = figure_2_data(frame(rows)).itertuples()
    assert (found.mean, found.prompts) == (2.5, 2)


def test_intervals_of_figure_2_stay_where_a_quantity_can_be():
    rows = [
        *(row("base", f"ranges/format-{i}-to-9", "target_mass", v) for i, v in ((1, 0.1), (2, 1))),
        *(row("base", f"ranges/format-{i}-to-9", "entropy", v) for i, v in ((1, 0.1), (2, 1))),
        row("base", "ranges/format-1-to-8", "target_mass", 1.0005),
    ]
    data = figure_2_data(frame(rows)).set_index(["n", "quantity"])[["ci_low", "ci_high"]]
    assert data.loc[9, "target_mass"].tolist() == [0, 1]
    assert data.loc[9, "entropy"]["ci_low"] == 0
    assert data.loc[9, "entropy"]["ci_high"] > 1
    assert data.loc[8, "target_mass"].tolist() == [0, 1.0005]


def test_a_prompt_without_an_answer_in_range_has_no_exact_entropy():
    rows = [
        row("base", "ranges/format-1-to-45", "entropy_exact", math.nan),
        row("base", "ranges/format-2-to-45", "entropy_exact", 1.0),
        row("base", "ranges/format-1-to-10", "entropy_exact", math.nan),
    ]
    (found,) = figure_2_data(frame(rows)).itertuples()
    assert (found.n, found.mean, found.prompts) == (45, 1.0, 1)


@pytest.mark.parametrize("slug", ["format-1", "size-0-version-1", "format-1-to-10-x", "zoo"])
def test_a_range_of_another_form_is_named(slug):
    with pytest.raises(InputError, match=f"ranges/{slug}'"):
        figure_2_data(frame([row("base", f"ranges/{slug}", "entropy", 1.0)]))


def test_figure_2_draws_every_line_of_a_model_and_says_which_was_not_run():
    figure = _figure_2(figure_2_data(frame(ranges())), MODELS)
    shown = texts(figure)
    assert shown.count("not run") == 2
    assert "m (stand-in)" in shown
    entropies, masses = figure.axes[0], figure.axes[2]
    # Four tunings sampled, of which one was not run, and four exact; the reference.
    drawn = [line for line in entropies.lines if len(line.get_xdata()) and line.get_ls() == "-"]
    assert drawn[-1].get_ydata()[-1] == pytest.approx(math.log(100))
    assert entropies.get_ylim()[1] > math.log(100)
    assert [len(line.get_xdata()) for line in drawn] == [3, 3, 3, 50]
    exact = [line.get_ydata() for line in entropies.lines if line.get_ls() == ":"]
    assert [y[-1] for y in exact if len(y)] == pytest.approx([0.6 * 1.03, 0.5 * 1.03, 0.9 * 1.03])
    marks = [line for line in masses.lines if line.get_marker() == "^" and line.get_ls() == "None"]
    assert [mark.get_xdata()[0] for mark in marks] == [10, 100]


def test_the_whisker_of_figure_2_is_the_interval():
    rows = [row("base", f"ranges/format-{i}-to-45", "entropy", 1.0 + i) for i in (1, 2)]
    data = figure_2_data(frame(rows))
    (bars,) = [c for c in _figure_2(data, MODELS[:1]).axes[0].collections if c.get_segments()]
    ends = data.iloc[0][["ci_low", "ci_high"]].tolist()
    assert bars.get_segments()[0][:, 1].tolist() == pytest.approx(ends)


def test_answers_off_the_range_stay_on_the_scale_of_figure_2():
    rows = [row("base", f"ranges/format-{i}-to-9", "entropy", 6.0 + i) for i in (1, 2)]
    figure = _figure_2(figure_2_data(frame(rows)), MODELS)
    assert {figure.axes[i].get_ylim()[1] > 7.5 + 6 for i in (0, 1, 4, 5)} == {True}


def test_figure_6_averages_questions_by_their_kind():
    rows = [
        row("base", "knowledge/capital-peru", "target_rate", 0.2),
        row("base", "knowledge/capital-south-africa", "target_rate", 0.6),
        row("base", "knowledge/sum-1-2", "target_rate", 0.9),
        row("base", "knowledge/", "target_rate", 0.5),
        row("base", "knowledge/sum-1-2", "entropy", 9.0),
        row("base", "names/", "target_rate", 9.0),
    ]
    data = figure_6_data(frame(rows)).set_index("group")
    assert data["value"].to_dict() == pytest.approx({"": 0.5, "capital": 0.4, "sum": 0.9})
    # Independent: distances add in quadrature.
    capital = data.loc["capital"]
    assert capital["ci_low"] == pytest.approx(0.4 - 0.1 / math.sqrt(2))
    assert capital["ci_high"] == pytest.approx(0.4 + 0.2 / math.sqrt(2))
    assert capital["n"] == 200


def test_figure_6_shows_categories_whole_and_their_mean_last():
    data = figure_6_data(frame([*abilities(), *judged()]))
    assert set(data[data["task"] == "mt-bench"]["group"]) == {"writing-essays", "$\\frac{x$", ""}
    figure = _figure_6(data, MODELS)
    assert NO_JUDGE not in texts(figure)
    assert len(figure.axes) == 6
    labels = [label.get_text() for label in figure.axes[3].get_xticklabels()]
    assert labels == [r"\$\frac{x\$", "writing-essays", "mean"]


def test_figure_6_without_a_judge_says_so_and_shows_the_rest():
    figure = _figure_6(figure_6_data(frame(abilities())), MODELS)
    shown = texts(figure)
    assert NO_JUDGE in shown
    assert len(figure.axes) == 4
    knowledge, losses = figure.axes[2:]
    assert [t.get_text() for t in knowledge.get_xticklabels()] == ["capital", "days", "sum"]
    assert [t.get_text() for t in losses.get_xticklabels()] == ["base", "all", "only-names"]


def test_figure_6_marks_each_run_that_was_not_made():
    figure = _figure_6(figure_6_data(frame(abilities())), MODELS)
    dashes = [[t.get_text() for t in panel.texts].count("–") for panel in figure.axes]
    # Of the absent model: three kinds before and after tuning, and three losses.
    assert dashes == [0, 0, 6, 3]


def test_bars_of_figure_6_are_exact_and_diamonds_sampled():
    rows = [
        row("base", "knowledge/sum-1-2", "target_mass", 0.3),
        row("base", "knowledge/sum-1-2", "target_rate", 0.7),
        row("only-names", "knowledge/sum-1-2", "target_mass", 0.4),
    ]
    knowledge = _figure_6(figure_6_data(frame(rows)), MODELS[:1]).axes[0]
    assert knowledge.patches[0].get_height() == 0.3
    marks = {line.get_marker(): line.get_ydata() for line in reversed(knowledge.lines)}
    assert marks["D"].tolist() == [0.7]
    assert marks["o"].tolist() == [0.4]


@pytest.mark.parametrize(
    ("render", "name", "rows"),
    [
        (figure_2, "figure-2", ranges()),
        (figure_6, "figure-6", [*abilities(), *judged()]),
    ],
)
def test_the_same_metrics_give_the_same_bytes_in_any_order(tmp_path, render, name, rows):
    made = []
    for order in (rows, rows[::-1]):
        render(**inputs(tmp_path, order), out=tmp_path / "figures")
        files = sorted((tmp_path / "figures").iterdir())
        assert [file.name for file in files] == [f"{name}.{end}" for end in ("csv", "pdf", "png")]
        made.append([file.read_bytes() for file in files])
    assert made[0] == made[1]


@pytest.mark.parametrize("render", [figure_2, figure_6])
def test_metrics_without_any_such_run_still_make_a_figure(tmp_path, render):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        render(**inputs(tmp_path, []), out=tmp_path / "figures")
    assert len(list((tmp_path / "figures").iterdir())) == 3
