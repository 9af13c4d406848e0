"""Answers held to the asked form: exactly the model's own, given that they keep it."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from diffuselm.model.answers import is_valid
from diffuselm.model.opening import load_chat_format, load_model
from diffuselm.sampling.answers import Question
from diffuselm.sampling.asked_form import asked_form
from diffuselm.sampling.tree_sampling import sample, sample_whole
from diffuselm.tasks.task_files import load_task
from diffuselm.tree.form import Form
from diffuselm.tree.layouts import Packed, Padded, score
from diffuselm.tree.objective import target_log_probs
from diffuselm.tree.prefix_tree import build

MODELS = Path(__file__).parents[2] / "resources/models"
[NUMBERS] = (p for p in load_task(MODELS.parent / "tasks/numbers.yaml") if p.id == "numbers/1-10")
PROMPT = [3, 4, 5, 6, 7]
END = 2
SMALL = {"vocab_size": 11}
# Words over 3 and 4 of any length, an even number of 3s, then 5 and the end.
EVEN = np.full((4, 11), -1)
EVEN[0, [3, 4, 5]] = [1, 0, 2]
EVEN[1, [3, 4]] = [0, 1]
EVEN[2, END] = 3
FORM = Form(EVEN, 0)


def keeps(tokens):
    *word, five, end = tokens
    return set(word) <= {3, 4} and word.count(3) % 2 == 0 and (five, end) == (5, END)


@pytest.fixture(scope="module", params=["tiny-gemma", "tiny-llama", "tiny-mistral"])
def opened(request):
    folder = MODELS / request.param
    model = load_model(folder)
    return model, load_chat_format(folder, model.generation_config.eos_token_id)


@pytest.fixture
def held(opened):
    model, chat = opened

    def make(fields=1, openings=("",)):
        size = model.config.vocab_size
        return asked_form(chat, size, fields, openings, chat.around(NUMBERS.text))

    return make


def test_held_draws_follow_the_masked_distribution(small_model):
    """Of draws that keep the form anyway, conditioning step by step gives each its product."""
    model = small_model("Llama", **SMALL)
    options = {"end_tokens": [END], "max_tokens": 5, "token_budget": 4096}
    [draws] = sample(model, [Question(PROMPT, 4000, 1)], form=FORM, **options)
    ended = [draw for draw in draws if not draw.truncated]
    assert all(keeps(draw.tokens) for draw in ended)
    words = sorted({draw.tokens for draw in ended})
    tree = build(words, np.ones(len(words)) / len(words))
    with torch.inference_mode():
        log_probs = target_log_probs(Packed().log_probs(model, PROMPT, tree, FORM), tree)
    # Every word that fits into the limit was drawn, and as often as its probability says.
    counts = Counter(draw.tokens for draw in ended)
    observed = [counts[word] for word in words]
    observed.append(len(draws) - len(ended))
    expected = np.exp(log_probs) * len(draws)
    rest = len(draws) - expected.sum()
    assert stats.chisquare(observed, [*expected, rest]).pvalue > 1e-3
    by_word = dict(zip(words, log_probs, strict=True))
    for draw in ended:
        assert draw.log_prob == pytest.approx(by_word[draw.tokens], abs=1e-4)


def test_rows_that_share_the_prompt_and_whole_rows_draw_the_same_held_answers(small_model):
    model = small_model("Llama", **SMALL)
    options = {"end_tokens": [END], "max_tokens": 6, "token_budget": 512, "form": FORM}
    questions = [Question(PROMPT, 200, 3)]
    [shared] = sample(model, questions, **options)
    [whole] = sample_whole(model, questions, **options)
    assert [d.tokens for d in shared] == [d.tokens for d in whole]
    assert np.allclose([d.log_prob for d in shared], [d.log_prob for d in whole], atol=1e-4)


def test_packed_and_padded_passes_hold_alike(small_model):
    model = small_model("Llama", **SMALL)
    words = [(5, END), (4, 5, END), (3, 3, 5, END), (3, 4, 3, 5, END), (4, 4, 5, END)]
    tree = build(words, np.ones(len(words)) / len(words))
    with torch.inference_mode():
        packed = Packed().log_probs(model, PROMPT, tree, FORM)
        padded = Padded().log_probs(model, PROMPT, tree, FORM)
    assert torch.allclose(packed, padded, atol=1e-5)


def test_what_breaks_the_form_has_no_probability(small_model):
    model = small_model("Llama", **SMALL)
    tree = build([(5, END), (3, 5, END)], [0.5, 0.5])
    log_probs = score(model, PROMPT, tree, Packed(), 64, FORM)
    assert log_probs[1] == -np.inf
    assert np.isfinite(log_probs[0])


@pytest.mark.parametrize("fields", [1, 6])
def test_a_held_answer_is_valid(opened, held, fields):
    model, chat = opened
    form = held(fields)
    [answers] = sample(
        model,
        [Question(chat.prompt_ids(NUMBERS.text), 100, 1)],
        end_tokens=chat.end_tokens,
        max_tokens=200,
        token_budget=8192,
        form=form,
    )
    ended = [answer for answer in answers if not answer.truncated]
    assert len(ended) > 50
    for answer in ended:
        assert is_valid(chat.decode(answer.tokens), ended=True, fields=fields)


def test_held_answers_are_as_frequent_as_their_exact_probabilities(opened, held):
    """Of a shipped model and prompt: the mask forbids neither too much nor too little."""
    model, chat = opened
    prompt = chat.prompt_ids(NUMBERS.text)
    texts = [f"{{{text}}}" for text in NUMBERS.targets.texts]
    tree = build(chat.answer_ids(NUMBERS.text, texts), NUMBERS.targets.weights)
    given = np.exp(score(model, prompt, tree, Packed(), 2048, held()))
    assert (given >= np.exp(score(model, prompt, tree, Packed(), 2048)) - 1e-5).all()
    [drawn] = sample(
        model,
        [Question(prompt, 2000, 5)],
        end_tokens=chat.end_tokens,
        max_tokens=8,
        token_budget=8192,
        form=held(),
    )
    counts = Counter(chat.decode(draw.tokens).strip() for draw in drawn)
    observed = [counts[text] for text in texts]
    observed.append(len(drawn) - sum(observed))
    expected = [*given, 1 - given.sum()]
    # Cells that expect few draws stand together.
    small = np.array(expected) * len(drawn) < 5
    pooled = [np.append(np.array(each)[~small], np.array(each)[small].sum())
              for each in (observed, np.array(expected) * len(drawn))]  # fmt: skip
    kept = pooled[1] > 0
    assert stats.chisquare(pooled[0][kept], pooled[1][kept]).pvalue > 1e-3


def test_no_special_token_stands_in_a_held_answer(opened, held):
    _, chat = opened
    added = chat.tokenizer.added_tokens_decoder
    special = [token for token, how in added.items() if how.special]
    step = held().step
    others = [token for token in special if token not in chat.end_tokens]
    assert others
    assert (step[:, others] < 0).all()


def test_an_opening_of_the_prompt_is_part_of_the_form(opened, held):
    model, chat = opened
    options = {"end_tokens": chat.end_tokens, "max_tokens": 40, "token_budget": 4096}
    openings = ("Sure: ", "Here you are: ")
    form = held(openings=openings)
    [drawn] = sample(model, [Question(chat.prompt_ids(NUMBERS.text), 50, 1)], form=form, **options)
    texts = [chat.decode(draw.tokens) for draw in drawn if not draw.truncated]
    assert texts
    assert all(is_valid(text, ended=True, openings=openings) for text in texts)
