"""Rows that share one copy of the prompt: the very answers of whole rows."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from test_form import FORM
from test_tree_sampling import END, PROMPT, SMALL, next_log_probs
from transformers import BloomConfig, BloomForCausalLM

from diffuselm.methods.temperature import Temperature
from diffuselm.model.opening import load_chat_format, load_model
from diffuselm.sampling.answers import Question
from diffuselm.sampling.shared_prompt import SharedPrompt
from diffuselm.sampling.tree_sampling import choose_sampler, sample, sample_whole
from diffuselm.tasks.task_files import load_task
from diffuselm.tree.attention import attending
from diffuselm.tree.token_budget import ROW

ROOT = Path(__file__).parents[2]
LENGTH = 12


def draw(model, draws=150, *, by=sample, prompt=PROMPT, **changes):
    settings = {"end_tokens": (END,), "max_tokens": LENGTH, "token_budget": 4096}
    [answers] = by(model, [Question(prompt, draws, 1)], **settings | changes)
    return answers


def budget_of(rows, max_tokens=LENGTH):
    """The token budget that lets so many rows be read at once."""
    return len(PROMPT) + rows * max(max_tokens, ROW)


def assert_same(ours, theirs):
    """The same tokens and ends; log-probabilities but for rounding."""
    assert [answer.tokens for answer in ours] == [answer.tokens for answer in theirs]
    assert [answer.truncated for answer in ours] == [answer.truncated for answer in theirs]
    found, expected = ([answer.log_prob for answer in answers] for answers in (ours, theirs))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def read_rows(model):
    """Rows of each later pass of one new token a row without a cache, as they come."""
    rows = []

    def look(_, args, kwargs):
        if not kwargs["use_cache"] and "position_ids" in kwargs:
            rows.append(len(kwargs["input_ids"]))

    model.register_forward_pre_hook(look, with_kwargs=True)
    return rows


@pytest.mark.parametrize("name", ["Llama", "Gemma", "Mistral", "Qwen 2", "Qwen 3", "Phi-3"])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_answers_are_those_of_whole_rows_with_the_same_seed(small_model, name, heads):
    """With one head of keys for all, for each two, and for each one of four."""
    model = small_model(name, **SMALL, num_key_value_heads=heads)
    rows = read_rows(model)
    ours = draw(model, token_budget=budget_of(40))
    assert rows  # that share the prompt
    assert_same(ours, draw(model, by=sample_whole))
    assert len({answer.tokens for answer in ours}) > 50


@pytest.mark.parametrize("name", ["tiny-gemma", "tiny-llama", "tiny-mistral"])
def test_a_stand_in_s_answers_are_those_of_whole_rows(name):
    folder = ROOT / "resources/models" / name
    model = load_model(folder, dtype="float32", device="cpu")
    chat = load_chat_format(folder, model.generation_config.eos_token_id)
    [biography] = load_task(ROOT / "resources/tasks/biographies.yaml")
    same = {"prompt": chat.prompt_ids(biography.text), "end_tokens": chat.end_tokens}
    assert_same(draw(model, 20, **same), draw(model, 20, by=sample_whole, **same))


@pytest.mark.parametrize("max_tokens", [2, 5, LENGTH])
@pytest.mark.parametrize("rows", [1, 4, 5, 10, 40])
def test_any_token_budget_gives_the_same_answers(small_model, rows, max_tokens):
    """Rows are taken up and dropped at many different lengths."""
    model = small_model("Llama", **SMALL)
    expected = draw(model, by=sample_whole, max_tokens=max_tokens)
    budget = budget_of(rows, max_tokens)
    assert_same(draw(model, max_tokens=max_tokens, token_budget=budget), expected)


def test_a_budget_below_the_prompt_still_reads_a_row_at_a_time(small_model):
    model = small_model("Llama", **SMALL)
    rows = read_rows(model)
    assert_same(draw(model, 30, token_budget=1), draw(model, 30, by=sample_whole))
    assert set(rows) == {1}


@pytest.mark.parametrize("most", [2, 7, 20])
def test_rows_keep_to_the_budget_and_hardly_any_is_read_twice(small_model, most):
    """A row whose answers ended takes up a branch that waits, so that only the last rows stop."""
    model = small_model("Llama", **SMALL)
    passes = read_rows(model)
    answers = {each.tokens for each in draw(model, 400, token_budget=budget_of(most))}
    steps = sum(len(tokens) - 1 for tokens in answers)
    prefixes = {tokens[:length] for tokens in answers for length in range(1, len(tokens))}
    assert max(passes) <= most
    assert len(prefixes) <= sum(passes) <= steps
    assert len(passes) < 1.2 * steps / most + LENGTH


@pytest.mark.parametrize("budget", [1, 17, 60, 400])
def test_whole_rows_keep_to_the_budget(small_model, budget):
    model, read = small_model("Llama", **SMALL), []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: read.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    draw(model, by=sample_whole, token_budget=budget)
    assert max(read) <= max(budget, len(PROMPT) + LENGTH)


def test_there_is_room_for_no_more_rows_than_were_asked_for(small_model):
    model = small_model("Llama", **SMALL)
    shared = SharedPrompt(model, PROMPT, 4, rows=7)
    with attending(model, shared):
        for rows in (1, 3, 7):
            shared.read(np.full(rows, 3), np.zeros(rows, dtype=np.int64))
            assert rows <= len(shared.answers[0][0]) <= 7


def test_where_all_rows_have_room_each_prefix_is_read_once(small_model):
    """No row is of an answer that has ended: a pass reads the prefixes of one length."""
    model = small_model("Llama", **SMALL)
    passes = read_rows(model)
    answers = [each.tokens for each in draw(model, 300, token_budget=budget_of(300))]
    going_on = [
        {tokens[:length] for tokens in answers if len(tokens) > length}
        for length in range(1, LENGTH)
    ]
    assert passes == [len(prefixes) for prefixes in going_on]


def test_answers_that_all_end_at_their_first_token_are_whole(small_model):
    model = small_model("Llama", **SMALL)
    ends = range(SMALL["vocab_size"])
    answers = draw(model, end_tokens=ends)
    assert_same(answers, draw(model, by=sample_whole, end_tokens=ends))
    assert all(len(answer.tokens) == 1 and not answer.truncated for answer in answers)


def test_answers_of_one_token_are_truncated_where_it_is_no_end(small_model):
    model = small_model("Llama", **SMALL)
    answers = draw(model, max_tokens=1)
    assert_same(answers, draw(model, by=sample_whole, max_tokens=1))
    assert {answer.truncated for answer in answers} == {True, False}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 20.0])
def test_at_a_temperature_first_tokens_follow_the_divided_logits(small_model, temperature):
    model = small_model("Llama", **SMALL)
    answers = draw(model, 4000, max_tokens=2, warp=Temperature(temperature=temperature).warp)
    scaled = next_log_probs(model, (), {}) / temperature
    expected = np.exp(scaled) / np.exp(scaled).sum()
    counts = np.bincount([answer.tokens[0] for answer in answers], minlength=11)
    likely = expected * 4000 >= 5
    observed = [*counts[likely], counts[~likely].sum()]
    wanted = [*expected[likely], expected[~likely].sum()]
    if likely.all():
        observed, wanted = observed[:-1], wanted[:-1]
    assert stats.chisquare(observed, 4000 * np.array(wanted)).pvalue > 0.001


def test_at_a_temperature_answers_and_log_probabilities_are_those_of_whole_rows(small_model):
    """Later tokens too are drawn from the divided logits."""
    model = small_model("Llama", **SMALL)
    warp = Temperature(temperature=3).warp
    hot = draw(model, warp=warp, token_budget=budget_of(40))
    assert_same(hot, draw(model, by=sample_whole, warp=warp))
    known = {}
    for answer in hot[:40]:
        expected = 0.0
        for at, token in enumerate(answer.tokens):
            scaled = next_log_probs(model, answer.tokens[:at], known) / 3.0
            expected += scaled[token] - np.logaddexp.reduce(scaled)
        assert answer.log_prob == pytest.approx(expected, rel=1e-5)
    assert hot != draw(model)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("Mamba", {}),
        ("Mistral", {"sliding_window": 4}),
        ("Mistral", {"sliding_window": 7}),
        ("Gemma 3", {"sliding_window": 7}),
    ],
)
def test_a_model_that_cannot_share_its_prompt_is_read_by_whole_rows(small_model, name, changes):
    """A state in place of keys; a window shorter than the prompt, and one reached midway."""
    model = small_model(name, **SMALL, **changes)
    assert choose_sampler(model, PROMPT, LENGTH) is sample_whole


def test_a_model_that_takes_no_attention_from_outside_is_read_by_whole_rows():
    """Bloom has positions in its scores, and code of its own for them."""
    torch.manual_seed(0)
    model = BloomForCausalLM(BloomConfig(hidden_size=32, n_layer=2, n_head=4, **SMALL)).eval()
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.4)
    assert choose_sampler(model, PROMPT, LENGTH) is sample_whole


@pytest.mark.parametrize("cap", [0.5, 50.0])
def test_a_cap_on_the_scores_is_heeded(small_model, cap):
    """Gemma 2's own, 50, moves these logits by less than a thousandth."""
    model = small_model("Gemma 2", **SMALL, attn_logit_softcapping=cap)
    ours = draw(model, 60, token_budget=budget_of(7))
    assert_same(ours, draw(model, 60, by=sample_whole))


@pytest.mark.parametrize("usual", ["eager", "sdpa"])
def test_the_model_s_own_attention_is_put_back(small_model, usual):
    model = small_model("Llama", **SMALL)
    model.set_attn_implementation(usual)
    expected = draw(model, 50, by=sample_whole)
    draw(model, 50)
    assert model.config._attn_implementation == usual
    assert_same(draw(model, 50, by=sample_whole), expected)


@pytest.mark.parametrize("number", [2, 6])
def test_the_model_s_own_attention_is_put_back_after_an_error(small_model, number):
    model, passes = small_model("Llama", **SMALL), []

    def fail(*_):
        passes.append(1)
        if len(passes) == number:
            raise torch.cuda.OutOfMemoryError("out of memory")

    usual = model.config._attn_implementation
    hook = model.register_forward_pre_hook(fail)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        draw(model)
    hook.remove()
    assert model.config._attn_implementation == usual
    assert_same(draw(model, 50), draw(model, 50, by=sample_whole))


def test_a_model_that_fails_the_check_is_sampled_by_whole_rows(small_model, monkeypatch, caplog):
    """Some attention cannot be replaced at all, such as that of latent keys."""
    model = small_model("Llama", **SMALL)

    def refuse(*_, **__):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(SharedPrompt, "__call__", refuse)
    assert choose_sampler(model, PROMPT, LENGTH) is sample_whole
    assert "does not take a shared prompt" in caplog.text


def test_keys_and_values_are_let_go_afterwards(small_model, monkeypatch):
    """They are as large as the token budget allows: on a GPU, most of its memory."""
    made, init = [], SharedPrompt.__init__

    def noted(self, *args, **settings):
        init(self, *args, **settings)
        made.extend(weakref.ref(tensor) for pair in self.prompt for tensor in pair)

    monkeypatch.setattr(SharedPrompt, "__init__", noted)
    draw(small_model("Llama", **SMALL))
    gc.collect()
    assert made
    assert all(tensor() is None for tensor in made)


# One is the beginning of another; two are alike; they share their first tokens alone.
QUESTIONS = [
    Question([*PROMPT, *rest], draws, seed)
    for seed, (rest, draws) in enumerate(
        [((8, 9, 3), 40), ((8, 9), 60), ((), 30), ((10, 3, 4, 5), 1), ((8, 9), 50)]
    )
]


@pytest.mark.parametrize("rows", [1, 7, 40, 200])
@pytest.mark.parametrize("form", [None, FORM])
def test_questions_asked_together_are_answered_as_each_alone(small_model, rows, form):
    model = small_model("Llama", **SMALL)
    settings = {"end_tokens": (END,), "max_tokens": LENGTH, "form": form}
    together = sample(model, QUESTIONS, token_budget=budget_of(rows, LENGTH + 4), **settings)
    for question, answers in zip(QUESTIONS, together, strict=True):
        [alone] = sample(model, [question], token_budget=4096, **settings)
        assert_same(answers, alone)
        assert len(answers) == question.draws


def test_what_prompts_share_is_read_once_for_all_their_answers(small_model):
    """A thousand calls that differ late cost little more than one."""
    model = small_model("Llama", **SMALL)
    passes = read_rows(model)
    ends = [(8, 8, 9), (8, 8, 10), (3, 3, 3)]
    questions = [Question([*PROMPT, *end], 40, seed) for seed, end in enumerate(ends)]
    sample(model, questions, end_tokens=(END,), max_tokens=2, token_budget=4096)
    assert passes[:3] == [2, 2, 3]  # the first two prompts are one until their last token


def test_questions_without_a_common_beginning_are_answered_as_each_alone(small_model):
    model = small_model("Llama", **SMALL)
    questions = [Question(PROMPT, 20, 1), Question([*PROMPT[::-1]], 20, 2)]
    settings = {"end_tokens": (END,), "max_tokens": LENGTH, "token_budget": 4096}
    together = sample(model, questions, **settings)
    for question, answers in zip(questions, together, strict=True):
        assert_same(answers, *sample(model, [question], **settings))
