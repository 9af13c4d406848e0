"""Table 9, Figures 7 and 8: methods side by side, from metrics made by hand."""

import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from diffuselm.errors import InputError
from diffuselm.files.schemas import METRICS
from diffuselm.files.tables import write_rows
from diffuselm.measure.intervals import interval_of_mean
from diffuselm.paper.curves import curves_of
from diffuselm.paper.figure_7 import figure_7
from diffuselm.paper.figure_8 import figure_8
from diffuselm.paper.tables_9 import tables_9
from diffuselm.tasks.target_sets import write_targets

TASKS = {
    "names": "prompts: {one: {text: Name., targets: [a, b, c, d]}}",
    "numbers": "prompts: {low: {text: Low., targets: [1, 2]}, up: {text: Up., targets: [8, 9]}}",
    "dice": "prompts: {two: {text: Roll., targets: {2: 1, 3: 2, 4: 1}}}",
}
PROMPTS = {"names": 1, "numbers": 2, "dice": 1}
FOUND = {
    "valid_rate": 0.5,
    "entropy": 2.0,
    "coverage": 30.0,
    "entropy_valid": 1.0,
    "coverage_valid": 20.0,
    "cost_read": 1250.0,
    "cost_written": 50.0,
}
EXACT = {"kl": 0.5, "tv": 0.25, "target_mass": 0.75}
TOP_P = {"way": "decoding", "kind": "top-p", "settings": {"p": 0.9}, "tuned_on": []}
LISTED = {"n": 10, "sentences": {"names": {"It begins with <>.": ["A", "B"]}, "numbers": {}}}
LIST = {"way": "prompting", "kind": "list", "settings": LISTED, "tuned_on": []}
OURS = {"way": "training", "kind": "ours", "settings": {}, "tuned_on": ["names", "numbers"]}


def row(tuning, task, metric, value, half=0.0, n=1000):
    ends = {"value": value, "ci_low": value - half, "ci_high": value + half}
    ids = {"model": "m", "tuning": tuning, "task": task, "prompt": None, "metric": metric}
    return ids | ends | {"field": "value", "n": n, "seed": 1}


def rows(tuning, task, draws=1000, without=(), **changed):
    """A task's mean of each metric, some of them changed, and some not measured."""
    for metric, value in (FOUND | EXACT | changed).items():
        half = 0.0 if metric in EXACT else value / 8
        if metric not in without:
            yield row(tuning, task, metric, value, half, PROMPTS[task] * draws)


def given(folder: Path, measured, methods, tasks=("names", "numbers"), baseline="form") -> dict:
    targets = []
    for task in tasks:
        (folder / f"{task}.yaml").write_text(TASKS[task])
        targets.append(folder / f"targets/{task}.parquet")
        write_targets(task=folder / f"{task}.yaml", seed=1, out=targets[-1])
    write_rows(folder / "metrics.parquet", measured, METRICS)
    record = {"model": "m", "stand_in": False, "paper_model": None, "baseline": baseline}
    (folder / "m.json").write_text(json.dumps(record))
    made = {"metrics": folder / "metrics.parquet", "records": [folder / "m.json"]}
    return made | {"targets": targets, "methods": json.dumps(methods), "out": folder}


def tables(folder: Path, measured, methods, **shape) -> tuple[list[dict[str, dict]], str]:
    """The rows of each of its Markdown tables by method, and the notes."""
    tables_9(**given(folder, measured, methods, **shape))
    text = (folder / "table-9.md").read_text()
    found = []
    for lines in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        heads, _, *cells = (
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in lines.splitlines()
        )
        its = [dict(zip(heads, row, strict=True)) for row in cells]
        assert all(row["Method"] for row in its)
        found.append({row["Method"]: row for row in its})
    return found, text


def everything(methods=("top-p", "list", "ours")):
    """Of every line on two tasks."""
    measured = []
    for task in ("names", "numbers"):
        measured += rows("base", task, 100, without=("cost_read",), valid_rate=0.0625)
        for tuning in ("form", "held", f"without-{task}", f"only-{task}", "method-top-p"):
            measured += rows(tuning, task)
        measured += rows("method-list", task, 200, without=EXACT)
        measured += rows("method-ours", task, entropy_valid=1.5)
        measured.append(row("method-ours", task, "unlisted_mass", 0.25))
    tuned = ("form", "without-names", "without-numbers", "only-names", "only-numbers")
    for number, tuning in enumerate((*tuned, "method-ours"), start=1):
        measured.append(row(tuning, "adapter", "training_tokens", 1000.0 * number))
    for tuning in ("base", *tuned, "method-top-p", "method-ours"):
        measured.append(row(tuning, "knowledge", "target_mass", 0.625))
    return measured


METHODS = {"method-top-p": TOP_P, "method-list": LIST, "method-ours": OURS}


def test_methods_stand_in_order_under_the_way_they_get_their_answers(tmp_path):
    (means, costs, *of_tasks), text = tables(tmp_path, everything(), METHODS)
    assert list(means) == [
        *("Base as it is", "Form taught (baseline)", "Base held to the form", "top-p", "list"),
        *("ours, tuned on other tasks (OOD)", "ours, tuned on the task (ID)", "ours"),
    ]
    ways = [row["Way"] for row in means.values()]
    assert ways == ["none", "", "", "decoding", "prompting", "training", "", ""]
    assert [row["No."] for row in means.values()] == list("12345678")
    assert [list(table) for table in (costs, *of_tasks)] == [list(means)] * 3
    assert "the mean over Baby Names, Numbers." in text
    assert re.findall(r"\*\*Table (9\.\d)\.\*\*", text) == ["9.1", "9.2", "9.3"]


def test_no_cell_is_empty_and_each_reason_stands_in_the_notes(tmp_path):
    found, text = tables(tmp_path, everything(), METHODS)
    for table in found:
        for name, cells in table.items():
            for head, cell in cells.items():
                assert cell or head in ("Model", "Way"), (name, head)
    means, costs, *_ = found
    raw, top_p, asked = means["Base as it is"], means["top-p"], means["list"]
    assert raw["entropy (nats)"] == raw["coverage of valid answers"] == "raw texts"
    assert raw["valid rate"].startswith("0.062")
    assert (raw["KL divergence (nats)"], raw["knowledge"]) == ("0.50", "0.625")
    assert top_p["target mass"] == "0.750"
    assert asked["target mass"] == asked["total variation"] == "no single tree"
    assert asked["knowledge"] == "as the baseline"
    assert means["Base held to the form"]["knowledge"] == "not asked"
    told = {name: cells["Settings"] for name, cells in costs.items()}
    assert (told["top-p"], told["list"]) == ("p 0.9", "n 10, sentences for names, numbers")
    trained = "tokens read in training"
    assert [costs[name][trained] for name in ("Base as it is", "top-p", "list", "ours")] == [
        *("none", "as the baseline", "as the baseline", "6,000")
    ]
    for reason in ("raw texts", "no single tree", "as the baseline", "not asked"):
        assert f"\n- {reason}: " in text
    assert "targets not listed" not in text


def test_a_mean_is_that_of_its_tasks_with_their_intervals(tmp_path):
    measured = [
        *rows("base", "names", entropy_valid=1.0),
        *rows("base", "numbers", entropy_valid=3.0, draws=500),
    ]
    tables(tmp_path, measured, {}, baseline="base")
    frame = pd.read_csv(tmp_path / "table-9.csv")
    found = frame[(frame["task"] == "mean") & (frame["metric"] == "entropy_valid")].iloc[0]
    low, high = interval_of_mean([1.0, 3.0], [(0.875, 1.125), (2.625, 3.375)])
    assert (found["value"], found["n"], found["answers"]) == (2.0, 2000, "500 to 1,000")
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((low, high))


def test_what_a_run_has_as_a_whole_counts_once_and_of_several_adapters_is_the_mean(tmp_path):
    (_, costs, *_), _ = tables(tmp_path, everything(), METHODS)
    trained = {name: row["tokens read in training"] for name, row in costs.items()}
    assert trained["Form taught (baseline)"] == "1,000"
    assert trained["ours, tuned on other tasks (OOD)"] == "2,500"  # of 2,000 and 3,000
    assert trained["ours, tuned on the task (ID)"] == "4,500"
    frame = pd.read_csv(tmp_path / "table-9.csv")
    means = frame[(frame["task"] == "mean") & (frame["metric"] == "training_tokens")]
    counted = means.set_index("tuning")["n"].dropna().to_dict()
    assert counted == {"form": 1000, "without-TASK": 2000, "only-TASK": 2000, "method-ours": 1000}


def test_only_the_papers_tasks_are_averaged_and_own_ones_say_that_nobody_tuned_on_them(tmp_path):
    measured = [*everything(), *rows("form", "dice", entropy=7.0)]
    measured += rows("method-ours", "dice", entropy=7.0)
    shape = {"tasks": ("names", "numbers", "dice")}
    (means, _, *of_tasks), _ = tables(tmp_path, measured, METHODS, **shape)
    assert means["ours"]["entropy (nats)"].startswith("2.00")
    assert (means["ours"]["Tuned on"], means["top-p"]["Tuned on"]) == (
        "the task and others",
        "no task",
    )
    dice = of_tasks[2]
    assert dice["ours"]["entropy (nats)"].startswith("7.00")
    assert dice["ours"]["Tuned on"] == "other tasks"
    assert list(dice) == ["Form taught (baseline)", "ours"]


def test_a_method_that_was_asked_some_of_the_tasks_stands_with_these_and_has_no_mean(tmp_path):
    measured = [r for r in everything() if (r["tuning"], r["task"]) != ("method-top-p", "numbers")]
    (means, costs, names, numbers), _ = tables(tmp_path, measured, METHODS)
    assert "top-p" not in means
    assert "top-p" not in numbers
    assert names["top-p"]["valid rate"].startswith("0.500")
    assert costs["top-p"]["tokens read per valid distinct answer"] == "1 of 2 tasks"
    assert costs["top-p"]["Settings"] == "p 0.9"


def test_no_valid_answer_is_a_reason_and_costs_infinitely_much(tmp_path):
    none = {"valid_rate": 0.0, "coverage_valid": 0.0}
    measured = [*rows("base", "names", without=("entropy_valid", "cost_read"), **none)]
    measured.append(row("base", "names", "cost_read", math.inf) | {"ci_low": 400.0})
    (means, costs, *_), text = tables(tmp_path, measured, {}, tasks=("names",), baseline="base")
    assert means["Base (baseline)"]["entropy of valid answers (nats)"] == "no valid answer"
    assert costs["Base (baseline)"]["tokens read per valid distinct answer"] == (r"∞<br>\[400, ∞\]")
    assert "\n- no valid answer: " in text


def test_what_is_not_a_description_of_methods_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"--methods: .*way"):
        tables_9(**given(tmp_path, [], {"method-x": TOP_P | {"way": "magic"}}))


# The figures


def test_figure_7_has_a_mark_for_every_line_that_has_a_spread(tmp_path):
    figure_7(**given(tmp_path, everything(), METHODS))
    data = pd.read_csv(tmp_path / "figure-7.csv")
    assert len(data) == 2 * 8
    names = data[data["task"] == "names"].set_index("method")
    assert names.loc["top-p", ["valid_rate", "entropy_valid", "cost"]].tolist() == [0.5, 1, 1300]
    assert names["target"].unique() == pytest.approx([math.log(4)])
    assert math.isnan(names.loc["Base as it is", "entropy_valid"])
    with Image.open(tmp_path / "figure-7.png") as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(10**6)}
    # The targets' own entropy, and what names the ways: decoding, prompting, training.
    assert {
        (0xD5, 0x5E, 0x00),
        (0xDE, 0x8F, 0x05),
        (0x02, 0x9E, 0x73),
        (0x01, 0x73, 0xB2),
    } <= colours


def test_curves_are_of_one_setting_and_one_choice_of_tasks():
    def ours(kind="ours", tasks=("names",), **settings):
        return {"way": "training", "kind": kind, "settings": settings, "tuned_on": [*tasks]}

    methods = {
        "all": ours(rank=4),
        "method-a": ours(rank=64),
        "method-b": ours(rank=1),
        "method-c": ours(rank=2, alpha=3),
        "method-d": ours(rank=2, tasks=["dice"]),
        "method-e": ours("near-base", strength=0.5),
        "method-f": ours(targets=10),
        "method-g": ours("full", rank=8),
    }
    found = {curve.setting: curve for curve in curves_of(methods)}
    assert found["rank"].tunings == {1: "method-b", 4: "all", 64: "method-a"}
    assert list(found["rank"].tunings) == [1, 4, 64]
    assert found["strength"].tunings == {0: "all", 0.5: "method-e"}
    assert set(found) == {"rank", "strength"}  # one point is no curve


@pytest.mark.filterwarnings("error")
def test_figure_8_shows_each_curve_beside_the_baseline(tmp_path):
    own = {"way": "training", "tuned_on": ["names", "numbers"]}
    methods = {
        "method-one": own | {"kind": "ours", "settings": {"rank": 1}},
        "method-two": own | {"kind": "ours", "settings": {"rank": 2}},
        "method-near": own | {"kind": "near-base", "settings": {"strength": 1}},
        "all": own | {"kind": "ours", "settings": {"rank": 4}},
    }
    for number in (10, 50):
        few = {"kind": "ours", "settings": {"targets": number}}
        methods[f"method-{number}"] = own | few | {"tuned_on": ["names"]}
    measured = [row(f"method-{n}", "names", "unlisted_mass", n / 100, n=200 - n) for n in (10, 50)]
    for place, tuning in enumerate(("form", *methods)):
        for task in ("names", "numbers"):
            measured += rows(tuning, task, entropy_valid=float(place))
        measured.append(row(tuning, "knowledge", "target_mass", place / 8))
    figure_8(**given(tmp_path, measured, methods))
    data = pd.read_csv(tmp_path / "figure-8.csv")
    spread = data[data["metric"] == "entropy_valid"].set_index(["setting", "tuning"])
    few = data[data["setting"] == "targets"].set_index(["metric", "tuning"])
    assert few["task"].unique() == ["names"]  # not the mean with tasks that it was not tuned on
    assert few.loc["unlisted_mass", "value"].dropna().to_dict() == {
        "method-10": 0.1,
        "method-50": 0.5,
    }
    assert few.loc["coverage_valid", "n"].unique() == [1000]
    assert spread.loc["rank", "at"].to_dict() == pytest.approx(
        {"form": math.nan, "method-one": 1, "method-two": 2, "all": 4}, nan_ok=True
    )
    assert spread.loc[("rank", "method-two"), ["value", "task"]].tolist() == [2, "mean"]
    near = spread.loc["strength"]
    assert near["knowledge"].to_dict() == {"form": 0, "all": 0.5, "method-near": 0.375}
    with Image.open(tmp_path / "figure-8.png") as image:
        assert image.size[0] == 2100
