"""Tree sampling: the draws of plain ancestral sampling, at the cost of the distinct prefixes."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

from diffuselm.sampling.answers import Question, choose
from diffuselm.sampling.tree_sampling import choose_sampler

PROMPT = [3, 4, 5, 6, 7]
END = 2
SMALL = {"vocab_size": 11}  # few outcomes, so that the tree has many draws at each


def draw(model, draws=400, *, ends=(END,), max_tokens=4, seed=1, token_budget=4096):
    by = choose_sampler(model, PROMPT, max_tokens)
    [answers] = by(
        model,
        [Question(PROMPT, draws, seed)],
        end_tokens=ends,
        max_tokens=max_tokens,
        token_budget=token_budget,
    )
    return answers


def next_log_probs(model, prefix, known):
    """Float64 log-probabilities of the next token from one plain pass without a cache."""
    if prefix not in known:
        with torch.no_grad():
            logits = model(torch.tensor([[*PROMPT, *prefix]]), use_cache=False).logits[0, -1]
        known[prefix] = logits.double().log_softmax(dim=-1).numpy()
    return known[prefix]


def sequence_log_prob(model, tokens, known):
    return sum(
        next_log_probs(model, tokens[:step], known)[token] for step, token in enumerate(tokens)
    )


def naive(model, draws, ends, max_tokens, seed):
    """Ancestral sampling, one draw after another, from the uniforms of `sample`."""
    uniforms = np.random.default_rng(seed).random((max_tokens, draws))
    known, answers = {}, []
    for own in uniforms.T:
        tokens = ()
        while len(tokens) < max_tokens and not (tokens and tokens[-1] in ends):
            cumulative = np.exp(next_log_probs(model, tokens, known)).cumsum()
            at = own[len(tokens)] * cumulative[-1]
            tokens += (int(np.searchsorted(cumulative, at, side="right")),)
        answers.append(tokens)
    return answers


def generated(model, draws, ends, max_tokens, batch=2000):
    """Answers of `generate` at temperature 1, cut behind their end token."""
    answers = []
    for _ in range(draws // batch):
        rows = model.generate(
            torch.tensor([PROMPT] * batch),
            attention_mask=torch.ones((batch, len(PROMPT)), dtype=torch.long),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=max_tokens,
            eos_token_id=list(ends),
            pad_token_id=0,
        )
        for row in rows[:, len(PROMPT) :].tolist():
            stop = next((at for at, token in enumerate(row, 1) if token in ends), len(row))
            answers.append(tuple(row[:stop]))
    return answers


@pytest.fixture(scope="module")
def pair(request):
    """20,000 answers of the tree and of `generate`, from one model with two end tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=11,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.4)
    torch.manual_seed(1)
    ours = draw(model, 20_000, ends=(END, 8))
    return model, ours, generated(model, 20_000, (END, 8), 4)


def test_outcomes_are_distributed_as_those_of_generate(pair):
    """Two-sample chi-square; outcomes seen fewer than ten times are taken together."""
    _, ours, theirs = pair
    tree, plain = Counter(answer.tokens for answer in ours), Counter(theirs)
    total = tree + plain
    common = [outcome for outcome, count in total.items() if count >= 10]
    assert len(common) > 100
    table = [[counts[outcome] for outcome in common] for counts in (tree, plain)]
    for row, counts in zip(table, (tree, plain), strict=True):
        row.append(sum(counts.values()) - sum(row))
    assert stats.chi2_contingency(table).pvalue > 0.001


def test_log_probabilities_are_distributed_as_those_of_generate(pair):
    model, ours, theirs = pair
    known = {}
    log_probs = {tokens: sequence_log_prob(model, tokens, known) for tokens in {*theirs}}
    # Rounded, so that one outcome has one value, whichever way it was computed.
    plain = np.round([log_probs[tokens] for tokens in theirs], 3)
    tree = np.round([answer.log_prob for answer in ours], 3)
    assert stats.ks_2samp(tree, plain).pvalue > 0.001
    assert stats.ttest_ind(tree, plain).pvalue > 0.001


def test_lengths_are_distributed_as_those_of_generate(pair):
    _, ours, theirs = pair
    tree = np.bincount([len(answer.tokens) for answer in ours], minlength=5)[1:]
    plain = np.bincount([len(tokens) for tokens in theirs], minlength=5)[1:]
    assert stats.chi2_contingency([tree, plain]).pvalue > 0.001


def test_each_log_probability_is_that_of_its_tokens(pair):
    model, ours, _ = pair
    known = {}
    for answer in ours[:2000]:
        expected = sequence_log_prob(model, answer.tokens, known)
        assert answer.log_prob == pytest.approx(expected, rel=1e-5)


def test_every_draw_ends_by_an_end_token_or_is_flagged_as_truncated(pair):
    _, ours, _ = pair
    assert len(ours) == 20_000
    assert {answer.tokens[-1] for answer in ours if not answer.truncated} == {END, 8}
    for answer in ours:
        assert not set(answer.tokens[:-1]) & {END, 8}
        assert answer.truncated == (answer.tokens[-1] not in (END, 8))
        assert len(answer.tokens) == 4 if answer.truncated else len(answer.tokens) <= 4
    assert any(answer.truncated for answer in ours)


def test_an_end_token_at_the_very_last_step_is_not_truncation(pair):
    _, ours, _ = pair
    assert any(len(answer.tokens) == 4 and not answer.truncated for answer in ours)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("Llama", {}),
        ("Gemma", {}),
        ("Qwen 3", {}),
        ("Phi-3", {}),
        ("Mistral", {"sliding_window": 4}),
        ("Gemma 2", {"sliding_window": 4}),
        ("Gemma 3", {"sliding_window": 4}),
        ("Mistral", {"sliding_window": 7}),
        ("Mamba", {}),
    ],
)
@pytest.mark.parametrize("token_budget", [9, 60, 4096])
def test_draws_are_those_of_ancestral_sampling_with_the_same_uniforms(
    small_model, name, changes, token_budget
):
    """Windows shorter than the prompt, and reached midway; a state that cannot be gathered."""
    model = small_model(name, **SMALL, **changes)
    ours = draw(model, 150, token_budget=token_budget)
    assert [answer.tokens for answer in ours] == naive(model, 150, (END,), 4, seed=1)
    known = {}
    expected = [sequence_log_prob(model, answer.tokens, known) for answer in ours]
    np.testing.assert_allclose([answer.log_prob for answer in ours], expected, rtol=1e-5)


def test_a_token_without_probability_is_never_drawn():
    """Not even at the ends of the uniform's range."""
    nothing = -torch.inf
    logits = torch.tensor([[nothing, 0.0, 0.0, nothing], [nothing, nothing, 0.0, nothing]])
    uniforms = [np.array([0.0, 0.25, 0.5, 1 - 2**-53]), np.array([0.0])]
    tokens, log_probs = choose(logits, uniforms)
    assert tokens.tolist() == [1, 1, 2, 2, 2]
    np.testing.assert_allclose(log_probs, [*4 * [np.log(0.5)], 0], atol=1e-12)


def test_tokens_rarer_than_a_float32_sum_can_tell_are_drawn_as_often_as_they_should():
    """A thousand of one in ten billion each, behind a token that takes nearly all."""
    logits = torch.full((1, 1001), -23.0)
    logits[0, 0] = 0.0
    probabilities = logits.double().softmax(dim=-1)[0].numpy()
    wanted = np.array([0, 1, 500, 1000])
    uniforms = probabilities.cumsum()[wanted] - probabilities[wanted] / 2
    tokens, log_probs = choose(logits, [uniforms])
    assert tokens.tolist() == wanted.tolist()
    np.testing.assert_allclose(log_probs, np.log(probabilities[wanted]), rtol=0, atol=1e-7)


def test_the_same_seed_gives_the_same_draws_and_another_seed_others(small_model):
    model = small_model("Llama", **SMALL)
    assert draw(model, seed=7) == draw(model, seed=7)
    assert draw(model, seed=7) != draw(model, seed=8)


def test_global_random_state_is_neither_read_nor_moved(small_model):
    model = small_model("Llama", **SMALL)
    torch.manual_seed(1)
    first, state = draw(model), torch.get_rng_state()
    torch.manual_seed(2)
    assert draw(model) == first
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("token_budget", [1, 40, 123])
def test_small_chunks_give_the_same_draws(small_model, token_budget):
    model = small_model("Llama", **SMALL)
    whole, cut = draw(model), draw(model, token_budget=token_budget)
    assert [answer.tokens for answer in cut] == [answer.tokens for answer in whole]
    assert [answer.truncated for answer in cut] == [answer.truncated for answer in whole]
    np.testing.assert_allclose(
        [answer.log_prob for answer in cut], [answer.log_prob for answer in whole], rtol=1e-5
    )


def test_a_thousand_draws_are_the_same_on_one_thread_and_on_two(small_model):
    """On a model wide enough that torch splits the work."""
    model = small_model("Llama", vocab_size=500, hidden_size=128, intermediate_size=512)
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append([answer.tokens for answer in draw(model, 1000)])
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]
    assert len(set(found[0])) > 100


def test_a_model_without_an_end_in_reach_gives_truncated_answers(small_model):
    answers = draw(small_model("Llama", **SMALL), 50, ends=(), max_tokens=3)
    assert all(answer.truncated and len(answer.tokens) == 3 for answer in answers)


def test_a_tuned_model_is_sampled_through_its_adapter(small_model):
    from peft import LoraConfig, get_peft_model

    model = small_model("Llama", **SMALL)
    base = naive(model, 100, (END,), 4, seed=1)
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    tuned = get_peft_model(model, config).eval()
    found = [answer.tokens for answer in draw(tuned, 100)]
    assert found == naive(tuned, 100, (END,), 4, seed=1)
    assert found != base
