"""The config: unknown keys and unfit values are refused in one line, before any job."""

import json
from pathlib import Path

import pytest
import yaml

from diffuselm.config.config import PAPER_TASKS, PAPER_TUNINGS, Config, read_config
from diffuselm.config.strict_files import check_keys
from diffuselm.errors import InputError
from diffuselm.plan.display import Display
from diffuselm.plan.make_plan import make_plan

ROOT = Path(__file__).parents[2]
MODELS = {"some-model": {"path": "resources/models/tiny-llama"}}


SIX = [f"resources/tasks/{task}.yaml" for task in PAPER_TASKS]
BIOGRAPHIES = "resources/tasks/biographies.yaml"
JUDGE = {"url": "http://localhost:8000/v1", "model": "judge-1"}
MT_BENCH = {"questions": "https://example.org/question.jsonl", "judge": JUDGE}


def judged(**changes):
    return {"mt_bench": {**MT_BENCH, "judge": {**JUDGE, **changes}}}


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
    assert tune.stop_ratio == 1.2
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
        ({"models": {"a": {}}}, "models.a: path is None, hub is None and gguf is None"),
        ({"models": {"a": {"gguf": "x.gguf"}}}, "models.a.gguf: no file x.gguf; expected a GGUF"),
        ({"models": {"a": {"package": "b"}}}, "models.a: path is None, hub is None and gguf is"),
        ({"models": {"a": {"path": "x", "package": "b"}}}, "models.a: gguf: missing; expected"),
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
        ({"tune": {"stop_early": ["x"]}}, "tune.stop_early: unknown tuning"),
        ({"tune": {"stop_ratio": -1}}, "tune.stop_ratio: found -1"),
        ({"sample": {"draws": 1}}, "sample.draws: found 1"),
        ({"sample": {"draws": 3_000_000_000}}, "sample.draws: found 3000000000"),
        ({"sample": {"draws": 1e24}}, "sample.draws: found 1e+24"),
        ({"sample": {"draws": "1e24"}}, "sample.draws: found '1e24'"),
        ({"sample": {"draws_of": {"names": 10**12}}}, "sample.draws_of.names: found 10000"),
        ({"sample": {"check_draws": 10**12}}, "sample.check_draws: found 10000"),
        ({"sample": {"max_tokens": 10**12}}, "sample.max_tokens: found 10000"),
        ({"sample": {"token_budget": 10**30}}, "sample.token_budget: found 10000"),
        ({"tune": {"rank": 10**12}}, "tune.rank: found 10000"),
        ({"tune": {"alpha": 10**400}}, "tune.alpha: found 10000"),
        ({"tune": {"passes": 10**12}}, "tune.passes: found 10000"),
        ({"ranges": {"versions": 10**12}}, "ranges.versions: found 10000"),
        ({"seed": 2**31}, "seed: found 2147483648"),
        ({"stand_ins": {"seed": 10**30}}, "stand_ins.seed: found 10000"),
        ({"models": {"a": {"path": "x", "gpus": 10**9}}}, "models.a.gpus: found 1000000000"),
        ({"models": {"a": {"path": "x", "billions": 1e308}}}, "models.a.billions: found 1e+308"),
        (judged(repeats=10**9), "mt_bench.judge.repeats: expected less than or equal to 100"),
        ({"sample": {"temperature": 2}}, "sample.temperature: unknown key"),
        ({"names": {"source": "census"}}, "names.source: found 'census'"),
        ({"names": {"source": "file"}}, "names: source is 'file' and file is None"),
        ({"names": {"year": 1492}}, "names.year: found 1492"),
        ({"ranges": {"highs": []}}, "ranges.highs: found []"),
        ({"ranges": {"highs": [1]}}, "ranges.highs.0: found 1"),
        ({"ranges": {"highs": [100_001]}}, "ranges.highs.0: found 100001"),
        ({"ranges": {"sizes": [10, 1]}}, "ranges.sizes.1: found 1"),
        ({"ranges": {"versions": 1}}, "ranges.versions: found 1"),
        ({"ranges": {"lows": [1]}}, "ranges.lows: unknown key"),
        ({"temperatures": [0]}, "temperatures.0: found 0"),
        ({"temperatures": [2, float("inf")]}, "temperatures.1: found inf"),
        ({"temperatures": 2}, "temperatures: found 2"),
        ({"knowledge": "knowledge.yaml"}, "knowledge.yaml: no such file; expected a YAML file"),
        (
            {"knowledge": "facts.yaml"},
            "knowledge: found facts.yaml; expected a file knowledge.yaml",
        ),
        ({"held_out_text": "no.txt"}, "no.txt: no such file; expected plain text"),
        ({"tasks": ["own/ranges.yaml"]}, "tasks: 'ranges' is taken"),
        ({"tasks": ["own/knowledge.yaml"]}, "tasks: 'knowledge' is taken"),
        ({"tasks": ["own/text.yaml"]}, "tasks: 'text' is taken"),
        ({"tasks": ["own/adapter.yaml"]}, "tasks: 'adapter' is taken"),
        ({"tasks": ["own/mt-bench.yaml"]}, "tasks: 'mt-bench' is taken"),
        (
            {"tasks": [*SIX, BIOGRAPHIES], "leave_one_out": ["names", "biographies"]},
            "leave_one_out: found 'biographies'; expected tasks of one value",
        ),
        ({"tunings": {"biographies": ["numbers/1-10"]}}, "tunings: 'biographies' is taken"),
        ({"mt_bench": {"judge": JUDGE}}, "mt_bench.questions: missing; expected it"),
        ({"mt_bench": {"questions": "q.jsonl"}}, "mt_bench.judge: missing; expected it"),
        ({"mt_bench": {**MT_BENCH, "questions": ""}}, "mt_bench.questions: found ''"),
        ({"mt_bench": {**MT_BENCH, "sha256": "abc"}}, "mt_bench.sha256: found 'abc'"),
        ({"mt_bench": {**MT_BENCH, "max_tokens": 0}}, "mt_bench.max_tokens: found 0"),
        ({"mt_bench": {**MT_BENCH, "api_key": "x"}}, "mt_bench.api_key: unknown key"),
        (judged(model=""), "mt_bench.judge.model: expected at least 1 character"),
        (judged(repeats=0), "mt_bench.judge.repeats: expected greater than or equal to 1"),
        (
            {"mt_bench": {**MT_BENCH, "questions": "no.jsonl"}},
            "mt_bench.questions: no file no.jsonl",
        ),
        ({"temperatures": [2, 2.0000001]}, "temperatures: found 2, 2; expected distinct ones"),
        ({"temperatures": [1e6]}, "temperatures: found 1e+06; expected distinct ones"),
        ({"sample": {"max_tokens_of": {"x": 9}}}, "sample.max_tokens_of: unknown task 'x'"),
        (
            {"tune": {"learning_rate_of": {"x": 0.1}}},
            "tune.learning_rate_of: unknown tuning 'x'",
        ),
        (judged(url="file:///tmp"), "mt_bench.judge: url: expected http(s)://host/path"),
    ],
)
def test_an_unfit_config_is_one_line_that_names_the_key(settings, line):
    with pytest.raises(InputError) as error:
        plan(**settings)
    message = str(error.value)
    assert line in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("models: {}\nseed: 010", "line 2: YAML reads '010' as 8; expected plain digits"),
        ("seed: 0x10", "line 1: YAML reads '0x10' as 16;"),
        ("sample: {draws: 1_000}", "line 1: YAML reads '1_000' as 1000;"),
        ("tune: {checkpoint_seconds: 1:30}", "line 1: YAML reads '1:30' as 90;"),
    ],
)
def test_digits_that_yaml_reads_as_another_number_are_refused(written, found, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(written, "utf-8")
    with pytest.raises(InputError) as error:
        check_keys(config)
    assert str(error.value).startswith(f"{config}: {found}")
    config.write_text('seed: 0\nsample: {draws: 1000}\nnames: {file: "010"}', "utf-8")
    check_keys(config)


def test_a_config_that_holds_half_a_pair_of_escapes_is_refused(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(r'tunings: {mine: ["\ud83d"]}', "utf-8")
    with pytest.raises(InputError, match=r"line 1: '\\ud83d' holds half a pair of escapes"):
        check_keys(config)


def test_the_paper_has_sixteen_tunings_of_26_prompts_and_one_of_biographies():
    tuned_on = plan().tuned_on
    tasks = ("names", "countries", "fruits", "dates", "numbers", "occupations")
    assert list(tuned_on) == [
        "rng-10",
        "rng-100",
        "rng-both",
        *(f"only-{task}" for task in tasks),
        *(f"without-{task}" for task in tasks),
        "all",
        "biographies",
    ]
    assert len(tuned_on["all"]) == 26
    for task in tasks:
        assert sorted(tuned_on[f"only-{task}"] + tuned_on[f"without-{task}"]) == sorted(
            tuned_on["all"]
        )
    assert tuned_on["rng-both"] == ["numbers/1-10", "numbers/1-100"]


def test_every_tuning_is_measured_where_a_table_compares_it():
    paper = plan(tasks=SIX)

    def measured(tuning):
        return list(paper.measured("some-model", tuning))

    assert measured("only-dates") == ["dates", "knowledge"]
    assert measured("without-dates") == ["dates", "knowledge"]
    for tuning in PAPER_TUNINGS:
        assert measured(tuning) == ["numbers", "ranges", "knowledge"]
    assert measured("base") == [*PAPER_TASKS, "ranges", "knowledge"]
    assert measured("all") == [*PAPER_TASKS, "knowledge"]
    assert measured("held") == [*PAPER_TASKS]
    assert set(paper.task_files) == {*PAPER_TASKS, "ranges", "knowledge"}


def test_answers_are_drawn_only_where_a_result_needs_them():
    paper = plan(tasks=SIX)
    for tuning in paper.tunings("some-model"):
        drawn = paper.measured("some-model", tuning)
        checked = 100 if tuning in ("base", "all") else 0
        assert drawn == {
            task: {"ranges": 500, "knowledge": checked}.get(task, 1000) for task in drawn
        }
    few = plan(tasks=SIX, sample={"draws": 20}).measured("some-model", "base")
    assert few["knowledge"] == few["names"] == few["ranges"] == 20
    some = plan(tasks=SIX, sample={"draws_of": {"knowledge": 7}}).measured("some-model", "base")
    assert (some["knowledge"], some["ranges"]) == (7, 500)


def test_a_model_that_does_not_keep_the_form_is_compared_with_one_that_was_taught_it():
    taught = plan(baseline="form")
    tunings = taught.tunings("some-model")
    assert tunings[:5] == ["base", "held", "held-all", "held-biographies", "form"]
    ids = taught.tuned_on["form"]
    assert ids
    assert {id.partition("/")[0] for id in ids} == {"form"}
    assert not set(ids) & {id for t, ids in taught.tuned_on.items() for id in ids if t != "form"}

    def drawn(tuning):
        return taught.measured("some-model", tuning)

    assert drawn("form") == {
        **dict.fromkeys(PAPER_TASKS, 1000), "ranges": 500, "knowledge": 100
    }  # fmt: skip
    # Raw answers only tell their rate.
    assert set(drawn("base").values()) == {100}
    assert drawn("all")["biographies"] == drawn("biographies")["biographies"] == 100
    for tuning in ("held", "held-all", "held-biographies"):
        assert drawn(tuning)["biographies"] == 1000
    answering = {"base": None, "held": None, "held-all": "all", "all": "all", "form": "form"}
    for tuning, adapter in answering.items():
        assert taught.adapter_of("some-model", tuning) == adapter


def test_a_baseline_may_be_that_of_one_model_alone():
    models = {
        "taught": {"path": "resources/models/tiny-llama", "baseline": "form"},
        "other": {"path": "resources/models/tiny-gemma"},
    }
    both = plan(models=models)
    assert [both.baseline(model) for model in models] == ["form", "base"]
    assert "form" in both.tunings("taught")
    assert not {"form", "held-all"} & set(both.tunings("other"))
    assert "held" in both.tunings("other")


def test_what_is_null_is_not_measured():
    bare = plan(tasks=SIX, ranges=None, knowledge=None)
    assert set(bare.task_files) == set(PAPER_TASKS)
    assert list(bare.measured("some-model", "rng-10")) == ["numbers"]
    assert list(bare.measured("some-model", "base")) == list(PAPER_TASKS)


def test_ranges_are_measured_only_where_a_tuning_on_numbers_is():
    assert "ranges" not in plan(tunings={"mine": ["numbers/1-10"]}).task_files
    assert "ranges" not in plan(tasks=["resources/tasks/names.yaml"]).task_files


def test_the_sweep_of_temperatures_asks_section_4_s_prompts():
    assert plan().swept == ["names/english", "numbers/1-10"]
    assert plan(tasks=["resources/tasks/names.yaml"]).swept == ["names/english"]
    assert plan(temperatures=[]).swept == []


def test_biographies_are_tuned_from_all_and_left_out_of_it():
    """Section 6.1; of the other tunings, only base and `all` write biographies."""
    whole = plan(tasks=[*SIX, BIOGRAPHIES])
    six = plan(tasks=SIX)
    assert {t: p for t, p in whole.tuned_on.items() if t != "biographies"} == six.tuned_on
    assert whole.tuned_on["biographies"] == ["biographies/sketch"]
    assert whole.recorded("some-model", "biographies") == ["base", "all", "biographies"]
    assert {t: whole.starts_from(t) for t in whole.tuned_on if whole.starts_from(t)} == {
        "biographies": "all"
    }
    assert six.of_records == []


def test_biographies_alone_are_tuned_from_nothing():
    alone = plan(tasks=[BIOGRAPHIES])
    assert list(alone.tuned_on) == ["biographies"]
    assert alone.starts_from("biographies") is None
    assert alone.recorded("some-model", "biographies") == ["base", "biographies"]


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "https://me:hunter2@host.example/v1"},
        {"url": "https://host.example/v1?key=hunter2"},
        {"url": "https://host.example/v1#hunter2"},
        {"url": "hunter2"},
        {"key_env": "hunter2"},
        {"key_env": "sk-hunter2"},
    ],
)
def test_a_secret_in_the_judge_s_settings_is_refused_and_not_shown(changes):
    with pytest.raises(InputError, match=r"mt_bench\.judge: (url|key_env): expected") as error:
        plan(**judged(**changes))
    assert "hunter2" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_judge_s_key_is_named_by_its_environment_variable():
    config = plan(**judged(key_env="JUDGE_API_KEY")).config
    assert config.mt_bench.judge.key_env == "JUDGE_API_KEY"
    assert config.mt_bench.judge.repeats == 3
    assert plan().config.mt_bench is None


@pytest.mark.parametrize(
    "settings",
    [
        {"mt_bench": {**MT_BENCH, "questions": "https://me:s3cret@example.org/q.jsonl"}},
        {"mt_bench": {**MT_BENCH, "judge": "s3cret"}},
        judged(key_env=["s3cret"]),
    ],
)
def test_what_may_be_a_secret_is_refused_and_not_shown(settings):
    with pytest.raises(InputError, match="mt_bench") as error:
        plan(**settings)
    assert "s3cret" not in str(error.value)


def test_a_task_says_how_long_its_answers_may_be_and_the_config_has_the_last_word(tmp_path):
    dice = tmp_path / "dice.yaml"
    dice.write_text("prompts: {d6: {text: Roll., targets: [1, 2, 3]}}")
    tasks = [*SIX, BIOGRAPHIES, str(dice)]
    longest = plan(tasks=tasks, sample={"max_tokens": 20, "max_tokens_of": {"names": 8}}).longest
    assert [longest[t] for t in ("names", "dates", "biographies", "dice")] == [8, 20, 320, 20]


def test_records_of_ones_own_are_tuned_from_all_and_asked_for_in_number(tmp_path):
    """Only the tuning on the task is asked for more than for its answers."""
    notes = tmp_path / "notes.yaml"
    notes.write_text(
        "{record: note, fields: {mood: {values: [good, bad]}, text: {}}, prompts: {a: {text: Hi}}}"
    )
    whole = plan(tasks=[*SIX, str(notes)], records=3000)
    assert whole.of_records == ["notes"]
    assert whole.tuned_on["notes"] == ["notes/a"]
    assert "only-notes" not in whole.tuned_on
    assert whole.starts_from("notes") == "all"
    assert whole.longest["notes"] == 320
    tunings = whole.recorded("some-model", "notes")
    records = {tuning: whole.records("some-model", tuning, "notes") for tuning in tunings}
    assert records == {"base": None, "all": None, "notes": 3000}
    held = plan(tasks=[str(notes)], baseline="form", records=3000)
    assert held.records("some-model", "held-notes", "notes") == 3000
    assert held.records("some-model", "notes", "notes") is None
    # With nothing but records, the form is not taught: no answer would be compared with it.
    for baseline in ("base", "form"):
        alone = plan(tasks=[str(notes)], baseline=baseline, knowledge=None)
        assert list(alone.tuned_on) == ["notes"]
        assert all(alone.measured("some-model", tuning) for tuning in alone.tunings("some-model"))


def test_given_values_share_the_answers_and_the_dataset_is_whole(tmp_path):
    notes = tmp_path / "notes.yaml"
    notes.write_text(
        "record: note\nfields: {stars: {range: [1, 8], given: true}, mood: {values: [good, bad]}, "
        "text: {}}\nprompts: {a: {text: <stars> stars}}"
    )
    whole = plan(tasks=[str(notes)])
    assert len(whole.prompts["notes"]) == 8
    assert whole.measured("some-model", "notes")["notes"] == 125
    assert whole.records("some-model", "base", "notes") is None  # all of its answers
    assert whole.records("some-model", "notes", "notes") == 1000
    fewer = plan(tasks=[str(notes)], sample={"draws_of": {"notes": 80}})
    assert fewer.measured("some-model", "notes")["notes"] == 10
    assert fewer.records("some-model", "notes", "notes") == 80


def test_a_dataset_has_as_many_records_of_each_text(tmp_path):
    notes = tmp_path / "notes.yaml"
    notes.write_text(
        "record: note\nfields: {stars: {range: [1, 8], given: true}, mood: {values: [good, bad]}, "
        "text: {}}\nprompts: {a: {text: <stars> stars}, b: {text: Of <stars> stars}}"
    )
    whole = plan(tasks=[str(notes)])
    assert whole.measured("some-model", "notes")["notes"] == 125
    assert whole.records("some-model", "notes", "notes") == 2000


def test_captions_name_what_is_held_to_the_form(tmp_path):
    notes, dice = tmp_path / "notes.yaml", tmp_path / "dice.yaml"
    notes.write_text(
        "{record: note, fields: {mood: {values: [good, bad]}, text: {}}, prompts: {a: {text: Hi}}}"
    )
    dice.write_text("prompts: {d6: {text: Roll., targets: [1, 2, 3]}}")

    def told(*tasks, **changes):
        found = plan(tasks=[*map(str, tasks)], baseline="form", **changes)
        return Display(found).caption["before_tuning"]

    assert told(notes, knowledge=None) == (
        "Before tuning as after, records of some-model are held to the form."
    )
    assert told(dice, notes).endswith(
        "(questions with one answer); its records are held to the form."
    )
    assert told(dice).endswith("(questions with one answer).")
    assert told(BIOGRAPHIES).endswith("; its biographies are held to the form.")


@pytest.mark.parametrize("name", ["all", "form", "rng-10", "only-names"])
def test_a_task_of_records_has_no_name_of_a_tuning(tmp_path, name):
    path = tmp_path / f"{name}.yaml"
    path.write_text(
        "{record: note, fields: {mood: {values: [good, bad]}, text: {}}, prompts: {a: {text: Hi}}}"
    )
    with pytest.raises(InputError, match=f"tasks: '{name}' is (a tuning|taken); expected another"):
        plan(tasks=[*SIX, str(path)])


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


def test_a_tuning_with_the_name_of_a_task_takes_the_place_of_that_on_all_of_its_prompts(tmp_path):
    dice = tmp_path / "dice.yaml"
    dice.write_text("prompts: {d4: {text: A, targets: [1, 2]}, d6: {text: B, targets: [1, 2]}}")
    some = plan(tasks=[str(dice)], tunings={"dice": ["dice/d4"]})
    assert some.tuned_on == {"dice": ["dice/d4"]}
    assert some.measured("some-model", "dice").keys() == {"dice", "knowledge"}
    named = plan(tasks=[str(dice)], tunings={"half": ["dice/d4"]})
    assert list(named.tuned_on) == ["half", "only-dice"]


def test_stated_distributions_have_a_table_where_some_are_tuned_on(tmp_path):
    stated = "resources/tasks/stated.yaml"
    some = plan(tasks=[stated], tunings={"stated": ["stated/coin-10"]})
    assert shown(some) == ({10}, set())
    assert shown(plan(tasks=[stated])) == ({"of-tasks"}, {"of-tasks"})
    dice = tmp_path / "dice.yaml"
    dice.write_text("prompts: {d6: {text: Roll., targets: [1, 2, 3]}}")
    both = plan(tasks=[stated, str(dice)], tunings={"stated": ["stated/coin-10"]})
    assert (Display(both).own_tasks, shown(both)[0]) == (["dice"], {10, "of-tasks"})


PAPERS = {*range(1, 9)}


def shown(made):
    """The numbers of the tables and of the figures that a plan shows."""
    tables, figures = (
        {n for n in (*PAPERS, 10, "of-tasks") if has(n)}
        for has in (Display(made).has_table, Display(made).has_figure)
    )
    return tables, figures & {*range(1, 7), "of-tasks"}


def test_tasks_of_ones_own_alone_show_nothing_of_the_paper_s(tmp_path):
    dice = tmp_path / "dice.yaml"
    dice.write_text("prompts: {d6: {text: Roll., targets: [1, 2, 3]}}")
    paper, own, both = plan(), plan(tasks=[str(dice)]), plan(tasks=[*SIX, str(dice)])
    assert shown(paper) == (PAPERS, {*range(1, 7)})
    assert shown(own) == ({"of-tasks"}, {"of-tasks"})
    assert shown(both) == ({4, 5, 6, "of-tasks"}, {1, 2, 3, 6, "of-tasks"})
    of_the_paper = [Display(each).of_the_paper for each in (paper, own, both)]
    assert of_the_paper == [True, False, True]
    assert shown(plan(tasks=[BIOGRAPHIES])) == (PAPERS, {3, 4, 5, 6})


@pytest.fixture
def outside(tmp_path):
    """Settings of two tasks from outside, one of them in braces, and a task of one's own."""
    (tmp_path / "prompts.json").write_text('["Pick a fruit."]')
    (tmp_path / "dice.yaml").write_text("prompts: {d6: {text: Roll., targets: [1, 2, 3]}}")
    file = str(tmp_path / "prompts.json")
    whole, braced = {"file": file}, {"file": file, "whole_answers": False}
    return {"tasks": [str(tmp_path / "dice.yaml")], "outside": {"whole": whole, "braced": braced}}


def test_tasks_from_outside_are_measured_on_what_is_tuned_on_whole_tasks_and_never_tuned_on(
    outside,
):
    both = ["whole", "braced"]

    def measured(made, tuning):
        return [task for task in made.measured("some-model", tuning) if task in both]

    paper = plan(tasks=SIX, outside=outside["outside"])
    expected = {"base": both, "held": ["braced"], "all": both}
    for tuning in paper.tunings("some-model"):
        assert measured(paper, tuning) == expected.get(tuning, [])
    assert not {*both} & {task for its in paper.tuned_on for task in paper.training_tasks(its)}
    assert paper.tuned_on == plan(tasks=SIX).tuned_on
    own = plan(**outside, baseline="form")
    assert "all" not in own.tuned_on
    assert [measured(own, t) for t in ("base", "form", "only-dice")] == [both] * 3


def test_tasks_from_outside_have_answers_and_lengths_of_their_own(outside):
    own = plan(**outside, baseline="form", sample={"draws_of": {"whole": 30}, "check_draws": 5})
    drawn = own.measured("some-model", "base")
    assert (drawn["whole"], drawn["braced"], drawn["dice"]) == (30, 1000, 5)
    longer = plan(**outside, sample={"max_tokens": 9, "max_tokens_of": {"braced": 200}})
    assert (longer.longest["whole"], longer.longest["braced"]) == (9, 200)


def test_tasks_from_outside_have_table_11_and_no_part_in_any_other(outside):
    own, without = plan(**outside), plan(tasks=outside["tasks"])
    assert [Display(each).has_table(11) for each in (own, without, plan())] == [True, False, False]
    assert Display(own).own_tasks == ["dice"]
    assert shown(own) == shown(without)


def test_what_is_put_after_the_prompts_of_a_file_makes_other_content(outside):
    file = outside["outside"]["whole"]["file"]
    asked = plan(outside={"whole": {"file": file, "after_prompt": "Just one."}})
    assert asked.content["whole"] != plan(**outside).content["whole"]


@pytest.mark.parametrize("name", ["dice", "names", "biographies", "ranges", "text", "Not-a-Slug"])
def test_a_task_from_outside_has_a_name_of_its_own(outside, name):
    outside["outside"] = {name: outside["outside"]["whole"]}
    with pytest.raises(InputError, match=f"c.yaml: outside: '{name}'; expected a name of its own"):
        plan(**outside)


def test_a_file_from_outside_that_does_not_fit_ends_the_plan(outside, tmp_path):
    (tmp_path / "prompts.json").write_text("{}")
    with pytest.raises(InputError, match=r"prompts\.json: no prompts; expected"):
        plan(**outside)
