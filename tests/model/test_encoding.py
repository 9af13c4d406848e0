"""Prompts as a model reads them: openings before targets, end tokens, and scores per target."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from diffuselm.config.outside import OutsideSettings
from diffuselm.model.answers import first_value, is_valid
from diffuselm.model.chat import ChatFormat
from diffuselm.model.encoding import encode_prompts
from diffuselm.tasks.outside import write_outside
from diffuselm.tasks.target_sets import write_targets
from diffuselm.tree.layouts import Packed
from diffuselm.tree.objective import distribution_matching_loss, target_log_probs
from diffuselm.tree.prefix_tree import optimal_loss

MODELS = Path(__file__).parents[2] / "resources" / "models"
OPENINGS = ["", "Sure! ", "Here you are:\n"]
WEIGHTS = {"1": 0.5, "10": 0.375, "Zoë": 0.125}
COIN = {
    "request": "Flip a coin.",
    "response": OPENINGS,
    "targets": [f"{{{text}}}" for text in WEIGHTS],
    "weights": list(WEIGHTS.values()),
}
PERSON = "{Ada Ley}\n{Female}\n{May 1, 1901}\n{Rome, Italy}"


@pytest.fixture(scope="module", params=["tiny-gemma", "tiny-llama", "tiny-mistral"])
def chat(request):
    """Each shipped tokenizer and chat template."""
    tokenizer = AutoTokenizer.from_pretrained(MODELS / request.param)
    end = "<end_of_turn>" if request.param == "tiny-gemma" else tokenizer.eos_token
    return ChatFormat(tokenizer, (tokenizer.convert_tokens_to_ids(end),))


@pytest.fixture
def encoded(chat, tmp_path):
    """Encode one prompt file with changes."""

    def encode(task="coins", **changes):
        path = tmp_path / task / "flip.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(COIN | changes), "utf-8")
        write_targets(task=path.parent, natural=None, seed=1, out=tmp_path / "targets.parquet")
        [prompt] = encode_prompts(chat, [tmp_path / "targets.parquet"])
        return prompt

    return encode


def answers(prompt):
    return [prompt.tree.sequence(leaf) for leaf in range(len(prompt.tree.leaf))]


def test_a_target_stands_after_every_opening_with_even_shares_of_its_weight(chat, encoded):
    prompt = encoded()
    expected = [f"{opening}{{{text}}}" for text in WEIGHTS for opening in OPENINGS]
    assert [chat.decode(ids) for ids in answers(prompt)] == expected
    assert all(ids[-1] in chat.end_tokens for ids in answers(prompt))
    shares = [weight / 3 for weight in WEIGHTS.values() for _ in OPENINGS]
    np.testing.assert_allclose(prompt.tree.mass[prompt.tree.leaf], shares, rtol=1e-15)


def test_an_answer_with_an_opening_is_valid_and_has_the_target_as_its_value(chat, encoded):
    prompt = encoded()
    for ids, (text, _, _) in zip(
        answers(prompt), [one for one in prompt.per_target(np.zeros(9)) for _ in OPENINGS],
        strict=True,
    ):  # fmt: skip
        answer = chat.decode(ids)
        assert is_valid(
            answer, ended=True, fields=prompt.prompt.fields, openings=prompt.prompt.openings
        )
        assert first_value(answer) == text


def test_the_score_of_a_target_is_summed_over_its_openings(encoded):
    prompt = encoded()
    log_probs = np.log(np.arange(1, 10) / 100)
    texts, probabilities, weights = zip(*prompt.per_target(log_probs), strict=True)
    assert texts == tuple(WEIGHTS)
    np.testing.assert_allclose(probabilities, [0.06, 0.15, 0.24], rtol=1e-12)
    np.testing.assert_allclose(weights, list(WEIGHTS.values()), rtol=1e-12)
    assert {type(number) for number in (*probabilities, *weights)} == {float}


def test_without_openings_the_score_is_that_of_the_leaf_to_the_last_bit(encoded):
    prompt = encoded(response="")
    log_probs = np.log(np.random.default_rng(0).uniform(size=3))
    scores = [(float(np.exp(x)), w) for x, w in zip(log_probs, WEIGHTS.values(), strict=True)]
    assert [found[1:] for found in prompt.per_target(log_probs)] == scores


def test_the_loss_is_the_mean_over_one_opening_drawn_for_each_target(encoded, small_model, chat):
    """Their training draws an opening for each target at each step: this is its expectation."""
    model = small_model("Llama", vocab_size=len(chat.tokenizer))

    def loss_and_scores(prompt):
        with torch.inference_mode():
            nodes = Packed().log_probs(model, prompt.tokens, prompt.tree)
            scores = prompt.per_target(target_log_probs(nodes, prompt.tree))
            loss = distribution_matching_loss(nodes, prompt.tree).item()
        return loss, np.array([probability for _, probability, _ in scores])

    loss, scores = loss_and_scores(encoded())
    losses, of_each = zip(*(loss_and_scores(encoded(response=o)) for o in OPENINGS), strict=True)
    assert loss == pytest.approx(np.mean(losses), rel=1e-5)
    np.testing.assert_allclose(scores, np.sum(of_each, axis=0), rtol=1e-4)


def test_the_least_loss_counts_the_openings_too(encoded):
    assert optimal_loss(encoded().tree) == pytest.approx(
        optimal_loss(encoded(response="").tree) + np.log(3)
    )


def test_no_end_token_is_appended_where_the_file_says_so(chat, encoded):
    """The answer's last brace stays, so that 1 and 10 are told apart."""
    closed, open_ = encoded(), encoded(eos=False)
    assert [ids[:-1] for ids in answers(closed)] == answers(open_)
    assert not any(set(ids) & set(chat.end_tokens) for ids in answers(open_))
    assert all(chat.decode(ids).endswith("}") for ids in answers(open_))


@pytest.fixture
def outside(chat, tmp_path):
    """Encode the one prompt of a file that somebody published."""

    def encode(content, **settings):
        (tmp_path / "file.json").write_text(json.dumps(content), "utf-8")
        settings = OutsideSettings(file=tmp_path / "file.json", **settings)
        write_outside(task="mine", settings=settings, out=tmp_path / "targets.parquet")
        [prompt] = encode_prompts(chat, [tmp_path / "targets.parquet"])
        return prompt

    return encode


PLANETS = {"Name a planet.": [["Earth", "the Earth"], "Mars", ["Zoë"]]}


def test_an_answer_taken_whole_is_each_of_its_spellings_as_it_is_and_in_braces(chat, outside):
    prompt = outside(PLANETS)
    assert [chat.decode(ids).strip() for ids in answers(prompt)] == [
        *("Earth", "the Earth", "{Earth}", "{the Earth}", "Mars", "{Mars}", "Zoë", "{Zoë}"),
    ]
    assert all(ids[-1] in chat.end_tokens for ids in answers(prompt))
    found = prompt.per_target(np.log(np.arange(1, 9) / 100))
    assert [text for text, _, _ in found] == ["Earth", "Mars", "Zoë"]
    np.testing.assert_allclose([p for _, p, _ in found], [0.10, 0.11, 0.15], rtol=1e-12)
    np.testing.assert_allclose([w for _, _, w in found], [1 / 3] * 3, rtol=1e-12)


def test_an_alias_may_begin_as_another_answer_does(chat, outside):
    prompt = outside({"Name a park.": [["Glacier", "Glacier Park"], "Glacier Park Two"]})
    texts = [chat.decode(ids).strip() for ids in answers(prompt)]
    assert texts[:2] == ["Glacier", "Glacier Park"]
    assert texts[4:] == ["Glacier Park Two", "{Glacier Park Two}"]


def test_where_braces_are_asked_for_only_spellings_in_braces_count(chat, outside):
    prompt = outside(PLANETS, whole_answers=False)
    assert [chat.decode(ids).strip() for ids in answers(prompt)] == [
        *("{Earth}", "{the Earth}", "{Mars}", "{Zoë}"),
    ]


def test_a_prompt_without_listed_answers_has_no_tree(outside):
    prompt = outside(["Name a planet."])
    assert len(prompt.tree) == 0
    assert prompt.per_target(np.zeros(0)) == []


@pytest.mark.parametrize(
    ("text", "whole", "braced"),
    [
        ("{the earth}", ("Earth", True), ("Earth", True)),
        ("The Earth.", ("Earth", True), (None, False)),
        ("I say: {Mars}", ("Mars", True), ("Mars", False)),
        ("Vulcan!", ("vulcan", True), (None, False)),
        ("...", (None, False), (None, False)),
    ],
)
def test_answers_from_outside_are_read_whole_or_in_braces(outside, text, whole, braced):
    taken_whole, in_braces = outside(PLANETS), outside(PLANETS, whole_answers=False)
    assert taken_whole.read(text, ended=True) == whole
    assert taken_whole.read(text, ended=False) == (whole[0], False)
    assert in_braces.read(text, ended=True) == braced


def test_a_biography_is_read_whole_and_without_an_end(chat, encoded):
    person = {"targets": [PERSON], "weights": [1], "response": ["", "Sure! "]}
    prompt = encoded("biographies", **person)
    assert prompt.prompt.fields == 6
    assert prompt.id == "biographies/flip"
    texts = [chat.decode(ids) for ids in answers(prompt)]
    assert texts == [PERSON, f"Sure! {PERSON}"]
    assert not any(set(ids) & set(chat.end_tokens) for ids in answers(prompt))
    assert prompt.per_target(np.log([0.25, 0.5])) == [(PERSON, 0.75, 1.0)]
