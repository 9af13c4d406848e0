"""Other ways to ask: what each call says, and how its reply is read."""

import string

import numpy as np
import pytest

from diffuselm.errors import InputError
from diffuselm.methods.attributes import Attributes
from diffuselm.methods.drawn_outside import DrawnOutside
from diffuselm.methods.few_shot import FewShot
from diffuselm.methods.list_of_answers import ListOfAnswers
from diffuselm.methods.method import kinds, read_method
from diffuselm.methods.prompt_search import PromptSearch
from diffuselm.methods.seed_string import SeedString
from diffuselm.methods.string_seed import StringSeed
from diffuselm.methods.verbalized import Verbalized
from diffuselm.tasks.prompts import Prompt
from diffuselm.tasks.texts import TargetSet

TEXT = "Output a fruit, chosen at random. Output only the fruit between braces, like this: {fruit}."
FRUIT = Prompt(id="fruits/output", text=TEXT, targets=TargetSet.of(["Fig", "Kiwi", "Plum"]))


def rng(seed=1):
    return np.random.default_rng(seed)


def drawn(method, reply, n=4000, ended=True):
    """The shares of the values that n readings of one reply take."""
    generator = rng()
    values = [method.value_of(reply, ended, generator).value for _ in range(n)]
    return {value: values.count(value) / n for value in sorted({*values})}


def valid(method, reply, ended=True):
    return method.value_of(reply, ended, rng()).valid


def test_a_list_s_values_are_taken_evenly():
    method = ListOfAnswers()
    assert "list of 10" in method.ask(FRUIT, rng())
    shares = drawn(method, "1. {Fig}\n2. {Kiwi}\n3. {Plum}")
    assert shares.keys() == {"Fig", "Kiwi", "Plum"}
    assert all(abs(share - 1 / 3) < 0.04 for share in shares.values())


@pytest.mark.parametrize(
    ("reply", "keeps"),
    [
        ("{Fig}, {Kiwi} and {Plum}", True),
        ("- {Fig}\n- {Kiwi}", True),
        ("1) {Fig} 2) {Kiwi}", True),
        ("{Fig}", True),
        ("Here they are: {Fig}, {Kiwi}", False),
        ("Fig, Kiwi", False),
    ],
)
def test_a_list_is_one_value_or_more_and_nothing_else(reply, keeps):
    assert valid(ListOfAnswers(), reply) == keeps
    assert not valid(ListOfAnswers(), reply, ended=False)


def test_examples_are_distinct_targets_by_their_weights():
    uneven = FRUIT.model_copy(update={"targets": TargetSet.of(["Fig", "Kiwi", "Plum"], [8, 1, 1])})
    calls = [FewShot(examples=1).ask(uneven, rng(seed)) for seed in range(400)]
    assert 0.7 < np.mean(["{Fig}" in call.removeprefix(TEXT) for call in calls]) < 0.9
    shown = FewShot(examples=5).ask(FRUIT, rng()).removeprefix(TEXT)
    assert all(f"{{{target}}}" in shown for target in FRUIT.targets.texts)


def test_an_attribute_is_of_the_prompt_or_else_of_its_task():
    sentences = {
        "fruits": {"It is <>.": ["red", "green"]},
        "fruits/pick": {"It grows in <>.": ["Peru"]},
    }
    method = Attributes(sentences=sentences)
    asked = {method.ask(FRUIT, rng(seed)) for seed in range(40)}
    assert asked == {f"{TEXT}\n\nIt is red.", f"{TEXT}\n\nIt is green."}
    other = FRUIT.model_copy(update={"id": "fruits/pick"})
    assert method.ask(other, rng()) == f"{TEXT}\n\nIt grows in Peru."
    assert method.ask(FRUIT.model_copy(update={"id": "dates/june"}), rng()) == TEXT


def test_a_seed_string_is_another_one_for_each_call():
    asked = {SeedString(length=12).ask(FRUIT, rng(seed)) for seed in range(50)}
    assert len(asked) == 50
    for call in asked:
        seed = call.rpartition(" ")[2]
        assert len(seed) == 12
        assert {*seed} <= {*string.ascii_letters, *string.digits}


def test_stated_probabilities_decide_or_not():
    reply = "{Fig} 0.8\n{Kiwi}: 0.1\n{Plum} - 10%\n"
    assert drawn(Verbalized(answers=3), "{Fig} 80%, {Kiwi} 10%, {Plum} 10%")["Fig"] == (
        pytest.approx(0.8, abs=0.03)
    )
    assert valid(Verbalized(answers=3), reply)
    evenly = drawn(Verbalized(answers=3, as_stated=False), reply)
    assert evenly["Fig"] == pytest.approx(1 / 3, abs=0.04)


@pytest.mark.parametrize(
    "reply",
    [
        "{Fig} 0.5 {Kiwi} 0.5",  # two of three
        "{Fig} 0.5 {Kiwi} 0.3 {Plum}",  # one without
        "{Fig} 0 {Kiwi} 0 {Plum} 0.0",
        "{Fig} 0.5 {} 0.3 {Plum} 0.2",
    ],
)
def test_a_malformed_statement_is_not_valid_and_counts_by_its_first_value(reply):
    read = Verbalized(answers=3).value_of(reply, True, rng())
    assert (read.value, read.valid) == ("Fig", False)


def test_percent_and_share_may_not_be_mixed_unseen():
    """A number with a percent sign is a hundredth."""
    shares = drawn(Verbalized(answers=2), "{Fig} 0.5 {Kiwi} 50%")
    assert shares["Fig"] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("reply", "value", "keeps"),
    [
        ("x7Gq2. The sum is 3, so {Kiwi}", "Kiwi", True),
        ("{Kiwi}", "Kiwi", True),
        ("abc {Fig} or {Kiwi}", "Kiwi", False),
        ("abc {Kiwi} it is", "Kiwi", False),
        ("abc", None, False),
    ],
)
def test_the_answer_after_a_string_is_its_last_value(reply, value, keeps):
    assert StringSeed().value_of(reply, True, rng()) == (value, keeps)


def test_an_answer_drawn_outside_follows_the_weights():
    uneven = FRUIT.model_copy(update={"targets": TargetSet.of(["Fig", "Kiwi"], [9, 1])})
    calls = [DrawnOutside().ask(uneven, rng(seed)) for seed in range(500)]
    assert 0.86 < np.mean(["{Fig}" in call for call in calls]) < 0.94


def test_a_rewording_keeps_the_sentences_that_ask_for_the_form():
    method = PromptSearch()
    form = "Output only the fruit between braces, like this: {fruit}."
    assert method.request(TEXT).endswith("\n\nOutput a fruit, chosen at random.")
    replies = ['"Name any fruit."\nIt is random.', "Say {fruit}.", "  ", "Name any fruit."]
    assert method.wordings(TEXT, replies) == [TEXT, f"Name any fruit. {form}"]


def test_a_kind_is_a_file_and_each_is_read_or_refused_in_one_line():
    assert {"top-p", "few-shot", "ours"} <= {*kinds()}
    assert read_method({"kind": "few-shot", "examples": 3}, "here") == FewShot(examples=3)
    with pytest.raises(InputError, match="here: kind 'top-q'; expected one of attributes, "):
        read_method({"kind": "top-q"}, "here")
    with pytest.raises(InputError, match="here: exampels: unknown"):
        read_method({"kind": "few-shot", "exampels": 3}, "here")
