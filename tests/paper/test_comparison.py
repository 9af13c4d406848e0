"""What our runs are compared with: the base model, or what stands for it."""

import json

import pytest

from diffuselm.files.schemas import METRICS
from diffuselm.files.tables import write_rows
from diffuselm.paper.comparison import ModelRecord, answers_per_prompt, load_models, read_metrics

FORM = ModelRecord(model="own", stand_in=False, paper_model=None, baseline="form")
OWN = ModelRecord(model="own", stand_in=False, paper_model=None)


@pytest.mark.parametrize(
    ("tuning", "task", "instead"),
    [
        ("base", "names", "form"),
        ("base", "ranges", "form"),
        ("base", "knowledge", "form"),
        ("base", "text", "base"),
        ("base", "mt-bench", "base"),
        ("all", "names", "all"),
        ("without-names", "names", "without-names"),
        ("base", "biographies", "held"),
        ("all", "biographies", "held-all"),
        ("biographies", "biographies", "held-biographies"),
        ("method-beam", "biographies", "method-beam"),
    ],
)
def test_the_form_taught_stands_for_a_base_that_does_not_keep_it(tuning, task, instead):
    assert FORM.measured_tuning(tuning, task) == instead
    assert OWN.measured_tuning(tuning, task) == tuning


def test_other_tasks_of_records_are_compared_held_to_the_form_too():
    taught = ModelRecord("own", False, None, "form", of_records=("reviews",))
    instead = {"base": "held", "all": "held-all", "reviews": "held-reviews"}
    for tuning, held in instead.items():
        assert taught.measured_tuning(tuning, "reviews") == held
    assert taught.measured_tuning("base", "names") == "form"


def test_methods_are_left_to_the_table_that_compares_them(tmp_path):
    ends = {"value": 3.0, "ci_low": 3.0, "ci_high": 3.0, "field": "value", "seed": 1}
    ids = {"model": "own", "task": "names", "prompt": "names/english", "metric": "coverage"}
    rows = [ids | ends | {"tuning": t, "n": n} for t, n in (("all", 1000), ("method-list", 200))]
    write_rows(tmp_path / "metrics.parquet", rows, METRICS)
    found = read_metrics(tmp_path / "metrics.parquet")
    assert found["tuning"].tolist() == ["all"]
    assert answers_per_prompt(found) == 1000


def test_a_record_names_its_baseline_and_base_goes_without_saying(tmp_path):
    for name, extra in (("a", {}), ("b", {"baseline": "form"})):
        record = {"model": name, "stand_in": False} | extra
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    found = load_models([tmp_path / "a.json", tmp_path / "b.json"])
    assert [(one.baseline, one.baseline_label) for one in found] == [
        ("base", "Baseline"),
        ("form", "Form taught"),
    ]
