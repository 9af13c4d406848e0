"""Table 11 from metrics made by hand: its columns, and what its notes say of those that lack."""

import json
import math

import pytest

from diffuselm.config.outside import OutsideSettings
from diffuselm.files.schemas import METRICS
from diffuselm.files.tables import write_rows
from diffuselm.paper.comparison import answers_per_prompt, read_metrics
from diffuselm.paper.tables_11 import tables_11
from diffuselm.tasks.outside import write_outside

LISTED = {"recall_10": 0.25, "recall_1000": 0.75, "kl": 2.5, "target_mass": 0.125}
DRAWN = {"recall": 0.5, "target_rate": 0.0625, "valid_rate": 0.75, "entropy": 2.0, "coverage": 7.0}
DRAWN |= {"distinct_10": 4.0}


def rows(tuning, task="planets", model="m", draws=200, **changed):
    """A task's mean over two prompts of each metric; exact ones are their own interval."""
    for metric, value in (LISTED | DRAWN | changed).items():
        near = 0 if metric in LISTED else 0.0625
        yield {"model": model, "tuning": tuning, "task": task, "prompt": None, "metric": metric} | {
            "field": "value",
            "value": value,
            "ci_low": value - near,
            "ci_high": value + near,
            "n": 2 * draws,
            "seed": 1,
        }


@pytest.fixture
def table(tmp_path):
    """The rows of the Markdown table by their headings, and the notes below."""
    files = {"planets": {"A?": ["x", "y"], "B?": ["z"]}, "prompts": ["P", "Q"]}

    def of(measured, tasks=("planets",), whole=True, stand_in=False):
        targets = [tmp_path / f"targets/{task}.parquet" for task in tasks]
        for task, out in zip(tasks, targets, strict=True):
            (tmp_path / f"{task}.json").write_text(json.dumps(files[task]))
            settings = OutsideSettings(file=tmp_path / f"{task}.json", whole_answers=whole)
            write_outside(task=task, settings=settings, out=out)
        write_rows(tmp_path / "metrics.parquet", measured, METRICS)
        shown = {"model": "m", "stand_in": stand_in, "paper_model": None, "baseline": "base"}
        (tmp_path / "m.json").write_text(json.dumps(shown))
        given = {"metrics": tmp_path / "metrics.parquet", "records": [tmp_path / "m.json"]}
        tables_11(**given, targets=targets, out=tmp_path)
        _, lines, notes = (tmp_path / "table-11.md").read_text().split("\n\n")
        heads, _, *cells = (
            [cell.strip() for cell in line.split("|")[1:-1]] for line in lines.splitlines()
        )
        return [dict(zip(heads, row, strict=True)) for row in cells], notes

    return of


def test_a_number_stands_under_its_tuning_with_its_interval(table):
    cells, notes = table([*rows("base"), *rows("held"), *rows("form"), *rows("all", kl=math.inf)])
    recall_10, _, recall, kl, *_ = cells
    assert list(recall) == [
        *("Task", "Model", "Measure", "Base", "Base held to the form", "Form taught", "Tuning all"),
    ]
    assert recall_10["Task"] == "planets<br>2 prompts<br>answers whole"
    assert recall_10["Base"] == "0.250"
    assert recall["Measure"] == "recall of the 200 drawn"
    assert recall["Base"] == r"0.500<br>\[0.438, 0.562\]"
    assert (kl["Base"], kl["Tuning all"]) == ("2.50", "∞")
    assert "No column" not in notes
    assert "not measured" not in notes


def test_a_task_has_the_measures_of_its_kind(table):
    measured = [*rows("base"), *rows("base", "prompts")]
    cells, notes = table(measured, ("planets", "prompts"))
    measures = [row["Measure"] for row in cells]
    assert measures[:7] == [
        *("recall of 10 answers", "recall of 1,000 answers", "recall of the 200 drawn"),
        *("KL divergence (nats)", "target mass", "on target, of the 200 drawn", "valid rate"),
    ]
    assert measures[7:] == [
        *("distinct of 10 answers", "distinct of the 200 drawn", "entropy (nats)", "valid rate"),
    ]
    assert "Recall:" in notes
    assert "Distinct of 10 answers:" in notes
    alone, notes = table(rows("base", "prompts"), ("prompts",))
    assert len(alone) == 4
    assert "Recall:" not in notes


def test_an_absent_column_is_told_with_its_reason(table):
    _, notes = table(rows("base"))
    assert "No column for a base held to the form: answers that are taken whole" in notes
    assert "No column for a base that was taught the form: no model" in notes
    assert "No column after tuning" in notes
    _, notes = table([*rows("base"), *rows("only-dice"), *rows("only-coin")])
    assert "Tuning only-TASK" in notes
    assert "No column for a tuning on all tasks" in notes


def test_a_number_that_was_not_measured_is_a_dash_with_its_reason(table):
    measured = [*rows("base"), *rows("held"), *rows("base", "prompts")]
    cells, notes = table(measured, ("planets", "prompts"))
    assert {row["Base held to the form"] for row in cells[7:]} == {"—"}
    assert "—: not measured. Answers that are taken whole have no form" in notes


def test_the_notes_say_which_spellings_an_exact_probability_holds(table):
    _, notes = table(rows("base"))
    assert "as the file spells them, in braces and, where answers are taken whole" in notes
    cells, notes = table(rows("base"), whole=False)
    assert cells[0]["Task"].endswith("answers in braces")
    assert "as the file spells them, in braces." in notes
    assert "Answers whole" not in notes


def test_stand_ins_are_named(table):
    cells, notes = table(rows("base"), stand_in=True)
    assert cells[0]["Model"] == "m (stand-in)"
    assert "Stand-ins: m." in notes


def test_other_tables_say_the_number_of_answers_of_what_is_tuned_on_alone(table, tmp_path):
    own = [row | {"prompt": "names/english", "n": 1000} for row in rows("base", "names")]
    table([*rows("base"), *own, *(row | {"prompt": "planets/1"} for row in rows("all"))])
    assert answers_per_prompt(read_metrics(tmp_path / "metrics.parquet")) == 1000
