"""The table and the figure of tasks that are not the paper's, from metrics made by hand."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from diffuselm.files.schemas import METRICS
from diffuselm.files.tables import write_rows
from diffuselm.paper.figure_of_tasks import figure_of_tasks
from diffuselm.paper.own_tasks import of_targets
from diffuselm.paper.tables_of_tasks import tables_of_tasks
from diffuselm.tasks.prompts import Prompt
from diffuselm.tasks.target_sets import write_targets
from diffuselm.tasks.texts import TargetSet

DICE = "prompts: {two: {text: Roll., targets: {2: 1, 3: 2, 4: 1}}}"
COINS = (
    "prompts: {fair: {text: Flip., targets: [a, b]}, bent: {text: Bend., targets: {a: 9, b: 1}}}"
)
FOUND = {"entropy": 0.5, "coverage": 3.0, "kl": 2.25, "target_mass": 0.125, "valid_rate": 0.75}


def rows(model, tuning, task, prompts=1, draws=1000, **changed):
    """A task's mean of each metric, one of them changed; exact ones are their own interval."""
    for metric, value in (FOUND | changed).items():
        exact = metric in ("kl", "target_mass")
        ends = (value, value) if exact else (value - 0.0625, value + 0.0625)
        yield {"model": model, "tuning": tuning, "task": task, "prompt": None, "metric": metric} | {
            "field": "value",
            "value": value,
            "ci_low": ends[0],
            "ci_high": ends[1],
            "n": prompts * (2 if exact else draws),
            "seed": 1,
        }


def given(folder: Path, measured, *, tasks=("dice",), models=("m",), baseline="base") -> dict:
    targets = []
    for task in tasks:
        (folder / f"{task}.yaml").write_text({"coins": COINS}.get(task, DICE))
        targets.append(folder / f"targets/{task}.parquet")
        write_targets(task=folder / f"{task}.yaml", seed=1, out=targets[-1])
    write_rows(folder / "metrics.parquet", measured, METRICS)
    records = [folder / f"{model}.json" for model in models]
    for path in records:
        shown = {"model": path.stem, "stand_in": False, "paper_model": None, "baseline": baseline}
        path.write_text(json.dumps(shown))
    metrics = folder / "metrics.parquet"
    return {"metrics": metrics, "records": records, "targets": targets, "out": folder}


def table(folder: Path, measured, **shape) -> tuple[list[dict[str, str]], str]:
    """The rows of the Markdown table by their headings, and the notes below."""
    tables_of_tasks(**given(folder, measured, **shape))
    _, lines, notes = (folder / "table-of-tasks.md").read_text().split("\n\n")
    heads, _, *cells = ([c.strip() for c in line.split("|")[1:-1]] for line in lines.splitlines())
    return [dict(zip(heads, row, strict=True)) for row in cells], notes


def test_before_and_after_stand_side_by_side_beside_the_targets_own(tmp_path):
    measured = [
        *rows("m", "base", "dice"),
        *rows("m", "held", "dice", kl=math.inf),
        *rows("m", "without-dice", "dice", entropy=0.75),
        *rows("m", "only-dice", "dice", kl=0.0625, target_mass=0.9375),
    ]
    cells, notes = table(tmp_path, measured)
    entropy, coverage, kl, mass, valid = cells
    assert entropy == {
        "Task": "dice<br>1 prompt, 1,000 answers",
        "Model": "m",
        "Measure": "entropy (nats)",
        "Target": "1.04",
        "Base held to the form": r"0.50<br>\[0.44, 0.56\]",
        "Baseline": r"0.50<br>\[0.44, 0.56\]",
        "Tuned on other tasks (OOD)": r"0.75<br>\[0.69, 0.81\]",
        "Tuned on the task (ID)": r"0.50<br>\[0.44, 0.56\]",
    }
    assert (coverage["Target"], mass["Target"], valid["Target"]) == ("3.0", "1.000", "1.000")
    assert list(kl.values())[3:] == ["0.000", "∞", "2.250", "2.250", "0.062"]
    assert mass["Tuned on the task (ID)"] == "0.938"
    assert valid["Baseline"] == r"0.750<br>\[0.688, 0.812\]"
    assert "—" not in notes


def test_a_task_outside_of_leave_one_out_takes_all_as_out_of_distribution(tmp_path):
    measured = [*rows("m", "base", "dice"), *rows("m", "all", "dice", kl=1.5)]
    cells, _ = table(tmp_path, measured)
    assert cells[2]["Tuned on other tasks (OOD)"] == "1.500"
    assert "Tuning all" not in cells[0]


def test_a_task_inside_of_it_shows_all_and_further_tunings_by_name(tmp_path):
    tunings = ("base", "without-dice", "only-dice", "all", "mine")
    measured = [row for i, tuning in enumerate(tunings) for row in rows("m", tuning, "dice", kl=i)]
    cells, _ = table(tmp_path, measured)
    shown = ["0.000", "1.000", "2.000", "3.000", "4.000"]
    assert list(cells[2])[4:] == [
        *("Baseline", "Tuned on other tasks (OOD)", "Tuned on the task (ID)"),
        *("Tuning all", "Tuning mine"),
    ]
    assert list(cells[2].values())[4:] == shown


def test_what_no_task_was_asked_has_no_column_and_the_note_says_how_to_get_it(tmp_path):
    measured = [*rows("m", "base", "dice"), *rows("m", "only-dice", "dice")]
    cells, notes = table(tmp_path, measured)
    assert list(cells[0])[4:] == ["Baseline", "Tuned on the task (ID)"]
    assert "leave_one_out" in notes.replace("\\", "")


def test_what_is_not_measured_is_a_dash_with_its_reason(tmp_path):
    unlisted = [row for row in rows("m", "base", "coins", 2) if row["metric"] != "kl"]
    measured = [*rows("m", "base", "dice"), *rows("m", "only-dice", "dice"), *unlisted]
    cells, notes = table(tmp_path, measured, tasks=("dice", "coins"))
    assert [row["Task"] for row in cells[::5]] == [
        "dice<br>1 prompt, 1,000 answers",
        "coins<br>2 prompts, 1,000 answers each",
    ]
    assert cells[7]["Baseline"] == cells[5]["Tuned on the task (ID)"] == "—"
    assert "- —: not measured." in notes


def test_of_a_base_that_ignores_the_form_rates_are_given_and_no_spread(tmp_path):
    measured = [
        *rows("m", "base", "dice", draws=20, valid_rate=0.125),
        *rows("m", "form", "dice", entropy=0.25),
        *rows("m", "only-dice", "dice"),
    ]
    cells, notes = table(tmp_path, measured, baseline="form")
    entropy, coverage, *_, valid = cells
    assert entropy["Base as it is"] == coverage["Base as it is"] == "—"
    assert valid["Base as it is"].startswith("0.125")
    assert entropy["Baseline"].startswith("0.25")
    assert entropy["Model"] == "m<br>baseline: form taught"
    assert entropy["Task"].endswith("1,000 answers")
    assert "Base as it is: the spread of raw texts means nothing" in notes


def test_seeds_are_averaged_and_exact_numbers_then_have_an_interval(tmp_path):
    first = [*rows("m", "base", "dice", kl=1.0)]
    measured = [*first, *({**row, "seed": 2} for row in rows("m", "base", "dice", kl=1.5))]
    cells, _ = table(tmp_path, measured)
    assert cells[2]["Baseline"].startswith("1.250<br>\\[")
    assert cells[0]["Task"].endswith("1 prompt, 1,000 answers")


def test_the_targets_own_numbers_are_those_of_answers_drawn_from_them():
    weights = (0.97, 0.02, 0.01)
    prompt = Prompt(id="t/p", text="x", targets=TargetSet(("a", "b", "c"), weights))
    rng = np.random.default_rng(1)
    drawn = [len(set(rng.choice(3, 50, p=weights))) for _ in range(4000)]
    own = of_targets([prompt], 50)
    assert own["coverage"] == pytest.approx(np.mean(drawn), abs=0.05)
    assert own["entropy"] == pytest.approx(-sum(w * math.log(w) for w in weights))
    assert of_targets([prompt], 10**6)["coverage"] == pytest.approx(3)
    assert math.isnan(of_targets([prompt], None)["coverage"])
    sure = Prompt(id="t/p", text="x", targets=TargetSet(("a",), (1.0,)))
    assert of_targets([sure], 50) == own | {"entropy": 0.0, "coverage": 1.0}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("tasks", "models"), [(1, 1), (3, 3)])
def test_the_figure_holds_a_mark_for_every_number_and_grows_with_their_lines(
    tmp_path, tasks, models
):
    names = [f"task-{i}" for i in range(tasks)]
    measured = [
        row
        for task in names
        for model in range(models)
        for tuning in ("base", "held", f"only-{task}")
        for row in rows(f"m{model}", tuning, task, kl=math.inf if tuning == "base" else 0.5)
    ]
    shape = given(tmp_path, measured, tasks=names, models=[f"m{i}" for i in range(models)])
    figure_of_tasks(**shape)
    data = pd.read_csv(tmp_path / "figure-of-tasks.csv")
    assert len(data) == len(measured)
    assert set(data["condition"]) == {
        *("Base held to the form", "Baseline", "Tuned on the task (ID)")
    }
    with Image.open(tmp_path / "figure-of-tasks.png") as image:
        width, height = image.size
        assert width == 2100
        assert height == pytest.approx(300 * (0.9 + tasks * (0.2 + 0.325 * models)), abs=2)
        if models == 1:
            colours = {colour for _, colour in image.convert("RGB").getcolors(10**6)}
            assert {(0xDE, 0x8F, 0x05), (0x94, 0x94, 0x94), (0xD5, 0x5E, 0x00)} <= colours
