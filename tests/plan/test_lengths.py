"""Targets longer than an answer may be: refused at the plan, where the tokenizer is known."""

import json
from pathlib import Path

import pytest

from diffuselm.config.config import read_config
from diffuselm.config.outside import OutsideSettings
from diffuselm.errors import InputError
from diffuselm.plan.lengths import check_lengths, may_not_fit
from diffuselm.plan.make_plan import make_plan

LLAMA = Path(__file__).parents[2] / "resources/models/tiny-llama"
LONG = "one of the very many words that a short answer has no room for at all, nor ever had"
REMOTE = {"hub": "o/n", "revision": "0" * 40, "billions": 7}
COMMITTED = "results/downloads/m.json"


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """A plan in an empty folder, of a task with a short target and a long one."""
    monkeypatch.chdir(tmp_path)
    task = {"prompts": {"any": {"text": "Say it.", "targets": ["short", LONG]}}}
    Path("words.yaml").write_text(json.dumps(task), "utf-8")

    def make(model=None, **sample):
        settings = {
            "models": {"m": model or {"path": str(LLAMA)}},
            "tasks": ["words.yaml"],
            "knowledge": None,
            "held_out_text": None,
            "sample": sample,
        }
        return make_plan(read_config(settings, "c.yaml"), "c.yaml")

    return make


def test_a_target_longer_than_an_answer_is_refused_once_the_tokenizer_is_known(plan):
    with pytest.raises(InputError) as error:
        check_lengths(plan(max_tokens=16), "c.yaml")
    line = str(error.value)
    assert line.startswith(f"c.yaml: models.m: {LONG!r} has ")
    assert "expected at most the 16 of an answer: set sample.max_tokens_of" in line
    check_lengths(plan(max_tokens_of={"words": 120}), "c.yaml")


def test_only_what_has_more_bytes_than_an_answer_tokens_is_counted(plan):
    assert may_not_fit(plan(max_tokens=16)) == {LONG: 16}
    assert may_not_fit(plan(max_tokens=120)) == {}


def test_a_model_that_is_to_be_fetched_is_counted_from_then_on(plan):
    remote = plan(model=REMOTE, max_tokens=16)
    check_lengths(remote, "c.yaml")
    Path(COMMITTED).parent.mkdir(parents=True)
    Path(COMMITTED).write_text(json.dumps({"path": str(LLAMA)}), "utf-8")
    with pytest.raises(InputError, match=r"models\.m: "):
        check_lengths(remote, "c.yaml")


def test_an_alias_of_an_answer_from_outside_has_to_fit_too(plan):
    Path("asked.json").write_text(json.dumps({"Say it.": [["so", LONG]]}), "utf-8")
    with_words = plan(max_tokens=120).config
    update = {"outside": {"asked": OutsideSettings(file=Path("asked.json"))}}
    asked = with_words.model_copy(update=update)
    assert may_not_fit(make_plan(asked, "c.yaml")) == {}
    short = asked.sample.model_copy(update={"max_tokens_of": {"asked": 16}})
    asked = asked.model_copy(update={"sample": short})
    assert may_not_fit(make_plan(asked, "c.yaml")) == {LONG: 16}
