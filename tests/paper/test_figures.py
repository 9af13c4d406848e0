"""Figures 1 and 3, and what all figures share: text and bytes that hold whatever models answer."""

import json
import math
import warnings
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from diffuselm.errors import InputError
from diffuselm.files.schemas import METRICS, NATURAL, SAMPLES, TARGETS
from diffuselm.files.tables import write_rows
from diffuselm.paper.comparison import Key, ModelRecord, Number
from diffuselm.paper.drawing import (
    STYLE,
    model_label,
    plot_text,
    whisker_lengths,
    write_figure,
)
from diffuselm.paper.figure_1 import figure_1
from diffuselm.paper.figure_3 import _figure_3, figure_3, figure_3_data

HOSTILE = ["$\\frac{x$", "小明", "x\r\ny", "x\ry", "\u202eevil", "NA", '"q",', "a" * 400]


def record(folder: Path, model: str) -> Path:
    path = folder / f"{model}.json"
    path.write_text(json.dumps({"model": model, "stand_in": True, "paper_model": None}))
    return path


def sampled(folder: Path, model: str, tuning: str, answers: dict[str, list[str | None]]) -> Path:
    path = folder / "samples" / model / f"{tuning}.parquet"
    rows = [
        {"prompt": prompt, "seed": 1, "draw": draw, "text": f"{{{value}}}", "value": value}
        | {"valid": True, "logprob": -1.0, "truncated": False}
        for prompt, values in answers.items()
        for draw, value in enumerate(values)
    ]
    write_rows(path, rows, SAMPLES)
    return path


def inputs(folder: Path) -> dict:
    names = [("Olivia", 30), ("Liam", 20), ("Emma", 50)]
    natural = [{"name": n, "count": c, "probability": c / 100} for n, c in names]
    write_rows(folder / "natural.parquet", natural, NATURAL)
    uniform = [{"prompt": "numbers/1-10", "text": str(i + 1), "weight": 0.1} for i in range(10)]
    write_rows(folder / "numbers.parquet", uniform, TARGETS)
    base = {
        "names/english": ["Anya"] * 6 + ["Emma"] * 3 + [None],
        "numbers/1-10": ["5"] * 6 + ["3"] * 3 + ["eleven"],
    }
    samples = [
        sampled(folder, "m", "base", base),
        sampled(folder, "m", "only-names", {"names/english": HOSTILE * 3 + ["Liam"]}),
    ]
    return {
        "samples": samples,
        "records": [record(folder, "m")],
        "natural": folder / "natural.parquet",
        "targets": folder / "numbers.parquet",
    }


def metric(model: str, tuning: str, task: str, value: float) -> dict:
    ids = {"model": model, "tuning": tuning, "task": task, "prompt": None, "field": "value"}
    ends = {"value": value, "ci_low": value - 0.2, "ci_high": value + 0.1}
    return ids | ends | {"metric": "entropy", "n": 1000, "seed": 1}


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False)


@pytest.fixture(scope="module")
def rendered_figure_1(tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("figure-1")
    given = inputs(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure_1(**given, out=folder / "figures")
    return folder / "figures", given


def test_each_distribution_of_figure_1_is_sorted_by_its_own_shares(rendered_figure_1):
    data = read(rendered_figure_1[0] / "figure-1.csv")
    for _, rows in data.groupby(["model", "tuning", "prompt"]):
        assert rows["share"].is_monotonic_decreasing
        assert rows["rank"].tolist() == list(range(1, len(rows) + 1))
    base = data[(data["tuning"] == "base") & (data["prompt"] == "names/english")]
    assert base["outcome"].tolist() == ["Anya", "Emma", "{None}"]
    assert base["share"].tolist() == [0.6, 0.3, 0.1]
    assert base["reference"].tolist() == [0.0, 0.5, 0.0]
    natural = data[(data["model"] == "natural") & (data["prompt"] == "names/english")]
    assert natural["outcome"].tolist() == ["Emma", "Olivia", "Liam"]


def test_numbers_of_figure_1_are_the_ten_asked_for_among_all_answers(rendered_figure_1):
    data = read(rendered_figure_1[0] / "figure-1.csv")
    base = data[(data["tuning"] == "base") & (data["prompt"] == "numbers/1-10")]
    assert set(base["outcome"]) == {str(i) for i in range(1, 11)}
    assert base["outcome"].tolist()[:2] == ["5", "3"]
    assert base["share"].sum() == pytest.approx(0.9)
    assert not len(data[data["tuning"] == "rng-10"])


def test_hostile_answers_reach_the_data_unchanged(rendered_figure_1):
    data = read(rendered_figure_1[0] / "figure-1.csv")
    tuned = data[data["tuning"] == "only-names"]
    assert set(tuned["outcome"]) == {*HOSTILE, "Liam"}


def test_the_same_inputs_give_the_same_bytes(rendered_figure_1, tmp_path):
    folder, given = rendered_figure_1
    figure_1(**given, out=tmp_path)
    for name in ("figure-1.png", "figure-1.pdf", "figure-1.csv"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "figure-1.csv",
        "figure-1.pdf",
        "figure-1.png",
    ]


def test_pdf_embeds_its_fonts_as_text_without_a_date(rendered_figure_1):
    pdf = (rendered_figure_1[0] / "figure-1.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf
    assert b"Software" not in (rendered_figure_1[0] / "figure-1.png").read_bytes()


def test_figure_1_needs_a_distribution_to_compare_with(tmp_path):
    given = inputs(tmp_path)
    write_rows(given["targets"], [{"prompt": "x/y", "text": "1", "weight": 1.0}], TARGETS)
    with pytest.raises(InputError, match="numbers/1-10"):
        figure_1(**given, out=tmp_path)


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("$\\_^{}a") | st.characters(), max_size=30))
def test_any_text_is_drawn_as_it_stands(text):
    shown = plot_text(text, 12)
    assert len(shown.replace(r"\$", "$")) <= 12
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = Figure()
        drawn = figure.text(0, 0, shown)
        FigureCanvasAgg(figure).draw()
        plain, is_mathtext = drawn._preprocess_math(shown)
    assert is_mathtext is False
    assert plain == shown.replace(r"\$", "$")


def test_figure_3_takes_base_leave_one_out_and_own_tuning(tmp_path):
    rows = [
        metric("m", "base", "fruits", 1.0),
        metric("m", "without-fruits", "fruits", 2.0),
        metric("m", "only-fruits", "fruits", 3.0),
        metric("m", "all", "fruits", 9.0),
        metric("m", "base", "zoo", 1.5),
        metric("m", "all", "zoo", 2.5),
        metric("m", "only-zoo", "zoo", 3.5),
        metric("m", "base", "knowledge", 0.1),  # nothing is tuned on it
    ]
    write_rows(tmp_path / "metrics.parquet", rows, METRICS)
    records = [record(tmp_path, "m"), record(tmp_path, "absent")]
    figure_3(metrics=tmp_path / "metrics.parquet", records=records, out=tmp_path)
    data = pd.read_csv(tmp_path / "figure-3.csv")
    own = data[data["model"] == "m"]
    assert own["condition"].tolist() == ["base", "OOD", "ID"] * 2
    assert own["entropy"].tolist() == [1.0, 2.0, 3.0, 1.5, 2.5, 3.5]
    assert own["title"].tolist() == ["Fruits"] * 3 + ["zoo"] * 3
    assert data[data["model"] == "absent"]["entropy"].isna().all()
    assert (tmp_path / "figure-3.png").stat().st_size > 0


@pytest.mark.parametrize("count", [1, 3, 7])
def test_labels_of_figure_3_stay_on_the_page_and_apart(count):
    models = [ModelRecord(f"model-of-{i}-billion-chat", i % 2 == 0, None) for i in range(count)]
    tasks = {"names": "Baby Names", "zoo": "zoo"}
    numbers = {
        Key(model.model, tuning, task, None, "entropy"): Number(2.0, 1.9, 2.2, 10, 1)
        for model in models
        for task in tasks
        for tuning in ("base", "all", f"without-{task}", f"only-{task}")
    }
    figure = _figure_3(figure_3_data(numbers, models), models, list(tasks.values()))
    figure.set_dpi(100)
    FigureCanvasAgg(figure).draw()
    page = figure.bbox
    panel = figure.axes[0]
    boxes = [label.get_window_extent() for label in panel.get_xticklabels()]
    assert len(boxes) == count
    assert all(page.x0 <= b.x0 and b.x1 <= page.x1 and page.y0 <= b.y0 for b in boxes)
    assert all(b.y1 <= panel.get_window_extent().y0 for b in boxes)
    # The whisker is the interval: 1.9 to 2.2 around 2.0.
    (whisker, *_) = panel.collections[0].get_segments()
    assert whisker[:, 1].tolist() == pytest.approx([1.9, 2.2])


def test_figure_3_has_a_dash_for_each_run_that_was_not_made():
    models = [ModelRecord("m", True, None), ModelRecord("absent", False, None)]
    numbers = {Key("m", "base", "fruits", None, "entropy"): Number(2.0, 1.9, 2.2, 10, 1)}
    panel = _figure_3(figure_3_data(numbers, models), models, ["Fruits"]).axes[0]
    places = {round(text.get_position()[0], 2) for text in panel.texts}
    assert {text.get_text() for text in panel.texts} == {"–"}
    assert places == {0.0, 0.27, 0.73, 1.0, 1.27}


@pytest.mark.parametrize(("lines", "between"), [(1, " "), (2, "\n")])
def test_a_stand_in_is_marked_however_long_its_name(lines, between):
    name, mark = model_label(ModelRecord("m" * 99, True, None), lines).split(between)
    assert (name[-1], mark) == ("…", "(stand-in)")
    assert "stand-in" not in model_label(ModelRecord("m" * 99, False, None), lines)


def test_a_whisker_spans_the_interval_and_reaches_nowhere_without_an_end():
    rows = pd.DataFrame({"value": [2.0, 2.0], "ci_low": [1.5, 2.1], "ci_high": [3.0, math.inf]})
    assert whisker_lengths(rows).tolist() == [[0.5, 0], [1, 0]]
    assert math.isnan(whisker_lengths(rows.assign(ci_low=math.nan))[0, 0])


def test_a_figure_that_cannot_be_written_leaves_nothing(tmp_path):
    class Broken(Figure):
        def savefig(self, *args, **kwargs):
            Path(args[0]).write_bytes(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_figure(tmp_path, 9, Broken(), pd.DataFrame())
    assert not list(tmp_path.iterdir())
