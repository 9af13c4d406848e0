"""The config: unknown keys and unfit values are refused in one line, before any job."""

import json
from pathlib import Path

import pytest
import yaml

from diffuselm.config import Config, read_config
from diffuselm.errors import InputError
from diffuselm.plan import make_plan

ROOT = Path(__file__).parents[1]
MODELS = {"some-model": {"path": "resources/models/tiny-llama"}}


def plan(**settings):
    return make_plan(read_config({"models": MODELS, **settings}, "c.yaml"), "c.yaml")


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_the_default_config_is_valid():
    config = read_config(yaml.safe_load((ROOT / "config.yaml").read_text()), "config.yaml")
    assert list(config.models) == ["tiny-gemma", "tiny-llama", "tiny-mistral"]
    assert all(model.stand_in for model in config.models.values())


def test_the_method_is_the_default():
    tune = Config(models=MODELS).tune
    assert (tune.rank, tune.alpha, tune.dropout) == (4, 8, 0)
    assert (tune.learning_rate, tune.eps, tune.max_grad_norm, tune.passes) == (5e-5, 1e-5, 1, 50)
    assert tune.early_stop.ratio == 1.2
    assert len(tune.target_modules) == 7


def test_the_schema_in_the_repository_is_that_of_the_config():
    written = json.loads((ROOT / "workflow/schemas/config.schema.json").read_text())
    assert written == Config.model_json_schema()


def test_every_setting_is_described():
    def settings(schema):
        for part in (schema, *schema.get("$defs", {}).values()):
            yield from part.get("properties", {}).items()

    undescribed = [
        name
        for name, setting in settings(Config.model_json_schema())
        if "description" not in setting and "$ref" not in setting
    ]
    assert undescribed == []


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"modles": {}}, "modles: unknown key"),
        ({"models": {}}, "models: found {}"),
        ({"models": {"a": {}}}, "models.a.path: Field required"),
        ({"models": {"a b": {"path": "x"}}}, "models.a b: found 'a b'"),
        ({"models": {"natural": {"path": "x"}}}, "models: 'natural' is taken"),
        ({"models": {"a": {"path": "x", "dtype": "int8"}}}, "models.a.dtype: found 'int8'"),
        ({"models": {"a": {"path": "x", "paper_model": "gpt"}}}, "models.a.paper_model"),
        ({"models": {"a": {"path": "x"}}}, "models.a.path: no x/config.json"),
        (
            {"names": {"source": "file", "file": "no.zip"}},
            "names.file: no file no.zip; expected names.zip or yobYYYY.txt",
        ),
        ({"seed": -1}, "seed: found -1"),
        ({"seed": "one"}, "seed: found 'one'"),
        ({"tasks": []}, "tasks: found []"),
        ({"tasks": ["a/x.yaml", "b/x.yaml"]}, "tasks: 'x' appears twice"),
        ({"tasks": ["resources/tasks/nowhere.yaml"]}, "resources/tasks/nowhere.yaml"),
        ({"leave_one_out": ["pets", "dates"]}, "leave_one_out: unknown task 'pets'"),
        ({"leave_one_out": ["dates"]}, "leave_one_out: found ['dates']; expected none, or two"),
        ({"leave_one_out": ["dates", "dates"]}, "leave_one_out: found ['dates', 'dates']"),
        ({"tunings": {"all": ["numbers/1-10"]}}, "tunings: 'all' is taken"),
        ({"tunings": {"only-me": ["numbers/1-10"]}}, "tunings: 'only-me' is taken"),
        ({"tunings": {"mine": ["numbers/1-11"]}}, "tunings.mine: unknown prompt 'numbers/1-11'"),
        ({"tunings": {"mine": []}}, "tunings.mine: found []"),
        ({"tune": {"learning_rate": 0}}, "tune.learning_rate: found 0"),
        ({"tune": {"learning_rate": float("inf")}}, "tune.learning_rate: found inf"),
        ({"tune": {"passes": 0}}, "tune.passes: found 0"),
        ({"tune": {"passes_of": {"rng-11": 3}}}, "tune.passes_of: unknown tuning 'rng-11'"),
        ({"tune": {"early_stop": {"tunings": ["x"]}}}, "tune.early_stop.tunings: unknown tuning"),
        ({"tune": {"early_stop": {"ratio": -1}}}, "tune.early_stop.ratio: found -1"),
        ({"sample": {"draws": 1}}, "sample.draws: found 1"),
        ({"sample": {"temperature": 2}}, "sample.temperature: unknown key"),
        ({"names": {"source": "census"}}, "names.source: found 'census'"),
        ({"names": {"source": "file"}}, "names: source is 'file' and file is None"),
        ({"names": {"year": 1492}}, "names.year: found 1492"),
    ],
)
def test_an_unfit_config_is_one_line_that_names_the_key(settings, line):
    with pytest.raises(InputError) as error:
        plan(**settings)
    message = str(error.value)
    assert line in message
    assert "\n" not in message


def test_the_paper_has_sixteen_tunings_of_26_prompts():
    tuned_on = plan().tuned_on
    tasks = ("names", "countries", "fruits", "dates", "numbers", "occupations")
    assert list(tuned_on) == [
        "rng-10",
        "rng-100",
        "rng-both",
        *(f"only-{task}" for task in tasks),
        *(f"without-{task}" for task in tasks),
        "all",
    ]
    assert len(tuned_on["all"]) == 26
    for task in tasks:
        assert sorted(tuned_on[f"only-{task}"] + tuned_on[f"without-{task}"]) == sorted(
            tuned_on["all"]
        )
    assert tuned_on["rng-both"] == ["numbers/1-10", "numbers/1-100"]


def test_every_tuning_is_measured_where_a_table_compares_it():
    paper = plan()
    assert paper.measured_tasks("only-dates") == ["dates"]
    assert paper.measured_tasks("without-dates") == ["dates"]
    assert paper.measured_tasks("rng-both") == ["numbers"]
    assert len(paper.measured_tasks("base")) == len(paper.measured_tasks("all")) == 6


def test_a_further_task_leaves_the_other_tunings_alone(tmp_path):
    dice = tmp_path / "dice.yaml"
    dice.write_text("prompts: {d6: {text: Roll., targets: [1, 2, 3]}}")
    paper = plan()
    longer = plan(tasks=[*map(str, paper.config.tasks), str(dice)])
    assert {t: p for t, p in longer.tuned_on.items() if t != "only-dice"} == paper.tuned_on
    assert longer.tuned_on["only-dice"] == ["dice/d6"]


def test_one_task_of_ones_own_is_enough(tmp_path):
    dice = tmp_path / "dice.yaml"
    dice.write_text("prompts: {d6: {text: Roll., targets: [1, 2, 3]}}")
    assert list(plan(tasks=[str(dice)]).tuned_on) == ["only-dice"]
