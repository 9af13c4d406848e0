"""Target sets: distributions over braced values, drawn once, written and read back."""

import dataclasses
import json
import math
from pathlib import Path
from unicodedata import category

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffuselm.errors import InputError
from diffuselm.files import schemas
from diffuselm.files.seeds import derive
from diffuselm.files.tables import read_table, write_table
from diffuselm.model.answers import braced_values, is_valid
from diffuselm.tasks.persons import draw_persons
from diffuselm.tasks.target_sets import draw_targets, read_prompts, write_targets
from diffuselm.tasks.task_files import load_task
from diffuselm.tasks.texts import TargetSet, value

TASKS = Path(__file__).parents[2] / "resources" / "tasks"
TARGETS = {
    "uniform": "[a, b]",
    "weighted": "{a: 1, b: 2}",
    "drawn": "{draw_from: natural_names, count: 2}",
}


def task_file(folder, targets, name="coins.yaml"):
    path = folder / name
    path.write_text(f"prompts:\n  flip:\n    text: Flip.\n    targets: {targets}\n", "utf-8")
    return path


def natural_table(names, probabilities):
    return pa.table([names, [1] * len(names), probabilities], schema=schemas.NATURAL)


@given(st.lists(st.floats(1e-9, 1.7e308), min_size=1, max_size=300))
def test_weights_sum_to_one_and_keep_their_ratios(weights):
    weights = [max(w, max(weights) * 1e-12) for w in weights]
    targets = TargetSet.of([f"t{i}" for i in range(len(weights))], weights)
    assert abs(math.fsum(targets.weights) - 1) <= 1e-12
    for weight, given_weight in zip(targets.weights, weights, strict=True):
        assert weight / targets.weights[0] == pytest.approx(given_weight / weights[0], rel=1e-9)


@given(st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=4))
def test_a_target_set_is_read_back_from_braces_or_refused(texts):
    clean = all(t == t.strip() and t.splitlines() == [t] and not {*"{}"} & {*t} for t in texts)
    clean &= not any(category(character) == "Cc" for character in "".join(texts))
    if not clean or len(set(texts)) < len(texts):
        with pytest.raises(InputError) as refusal:
            TargetSet.of(list(map(value, texts)))
        assert len(str(refusal.value).splitlines()) == 1
        return
    targets = TargetSet.of(list(map(value, texts)))
    assert braced_values("".join(f"{{{text}}}" for text in targets.texts)) == (texts, "")


@pytest.mark.parametrize(
    ("texts", "weights"),
    [
        (("a", "b"), (1.0,)),
        (("a", "b"), (1.5, -0.5)),
        (("a", "b"), (1.0, 0.0)),
        (("a",), (math.nan,)),
        ((), ()),
    ],
)
def test_a_target_set_is_a_distribution(texts, weights):
    with pytest.raises(InputError):
        TargetSet.of(texts, weights)


def test_each_prompt_draws_names_of_its_own(tmp_path):
    natural = natural_table([f"N{i}" for i in range(50)], [1 / 50] * 50)
    nine = TARGETS["drawn"].replace("2", "9")
    first, second = (
        draw_targets(load_task(task_file(tmp_path, nine, name=name))[0], natural, 3)
        for name in ("one.yaml", "two.yaml")
    )
    assert set(first.weights) == {1 / 9}
    assert first.texts != second.texts


@pytest.mark.parametrize("kind", TARGETS)
def test_written_targets_are_the_loaded_ones_and_read_back(tmp_path, kind):
    natural = natural_table(["Ann", "Bob", "Cy"], [0.5, 0.3, 0.2])
    write_table(tmp_path / "natural.parquet", natural, schemas.NATURAL)
    task, out = task_file(tmp_path, TARGETS[kind]), tmp_path / "targets.parquet"
    write_targets(task=task, natural=tmp_path / "natural.parquet", seed=5, out=out)
    [prompt] = load_task(task)
    targets = draw_targets(prompt, natural, 5)
    assert read_table(out, schemas.TARGETS).to_pylist() == [
        {"prompt": "coins/flip", "text": text, "weight": weight}
        for text, weight in zip(targets.texts, targets.weights, strict=True)
    ]
    assert read_prompts([out]) == [prompt.model_copy(update={"targets": targets})]


def test_prompts_are_read_back_in_the_order_given(tmp_path):
    paths = [tmp_path / f"{task}.parquet" for task in ("numbers", "dates")]
    for path in paths:
        write_targets(task=TASKS / f"{path.stem}.yaml", natural=None, seed=1, out=path)
    loaded = [prompt for path in paths for prompt in load_task(TASKS / f"{path.stem}.yaml")]
    assert read_prompts(paths) == loaded
    assert read_prompts(paths[::-1])[-1] == loaded[7]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"id": "coins/toss"}, "targets.parquet: no targets of coins/toss"),
        ({"tokens": 5}, "targets.json: prompts.0.tokens: unknown key"),
        ({"fields": None}, "targets.json: prompts.0.fields: found None"),
    ],
)
def test_prompts_that_are_not_as_written_are_refused(tmp_path, changes, expected):
    out = tmp_path / "targets.parquet"
    write_targets(task=task_file(tmp_path, "[a, b]"), natural=None, seed=1, out=out)
    beside = tmp_path / "targets.json"
    [prompt] = json.loads(beside.read_text("utf-8"))["prompts"]
    beside.write_text(json.dumps({"prompts": [prompt | changes]}), "utf-8")
    with pytest.raises(InputError, match=expected):
        read_prompts([out])


def test_biographies_are_tuned_on_four_of_six_fields_of_210_persons(tmp_path):
    out = tmp_path / "targets.parquet"
    write_targets(task=TASKS / "biographies.yaml", natural=None, seed=5, out=out)
    [prompt] = read_prompts([out])
    persons = draw_persons(derive(5, "targets", "biographies/sketch"))
    texts = prompt.targets.texts
    assert texts == tuple(
        "".join(f"{{{value}}}\n" for value in dataclasses.astuple(person)) for person in persons
    )
    assert set(prompt.targets.weights) == {1 / 210}
    assert len(set(texts)) == 210
    assert all(is_valid(text, True, fields=4) and text.endswith("}\n") for text in texts)
    assert prompt.fields == 6
    assert not prompt.ends
    [undrawn] = load_task(TASKS / "biographies.yaml")
    assert draw_targets(undrawn, None, 6).texts != texts


def test_names_are_asked_for_only_where_a_prompt_draws_them(tmp_path):
    out, absent = tmp_path / "targets.parquet", tmp_path / "not-there.parquet"
    write_targets(task=TASKS / "occupations.yaml", natural=absent, seed=0, out=out)
    assert read_table(out, schemas.TARGETS).num_rows == 234
    names = {"task": TASKS / "names.yaml", "seed": 0, "out": out}
    with pytest.raises(InputError, match=r"names\.yaml: names/english: .* expected their file"):
        write_targets(**names, natural=None)
    nameless = natural_table([None, "Bob"], [0.5, 0.5])
    with pytest.raises(InputError, match="None; expected one line of text"):
        draw_targets(load_task(task_file(tmp_path, TARGETS["drawn"]))[0], nameless, 0)
    few = natural_table(["Ann", "Bob"], [0.5, 0.5])
    write_table(tmp_path / "natural.parquet", few, schemas.NATURAL)
    with pytest.raises(InputError, match=r"natural\.parquet: 2 names .* expected 200 or more"):
        write_targets(**names, natural=tmp_path / "natural.parquet")
