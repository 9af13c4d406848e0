"""Tuning: one step per prompt toward its target set, and nothing but the adapter moves."""

import copy
import logging
import math

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_post_hook

from diffuselm.config.tune import LoraSettings
from diffuselm.errors import InputError, NonFiniteLossError
from diffuselm.model.adapters import load_adapter
from diffuselm.model.encoding import EncodedPrompt
from diffuselm.tasks.prompts import Prompt
from diffuselm.tasks.texts import TargetSet
from diffuselm.tree.layouts import Packed, Padded, score
from diffuselm.tree.prefix_tree import build, optimal_loss
from diffuselm.tree.token_budget import tokens_that_fit
from diffuselm.tuning.loop import gradient, split, tune

SETTINGS = LoraSettings(
    rank=4,
    alpha=8,
    dropout=0.0,
    target_modules=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    learning_rate=2e-2,
    eps=1e-5,
    max_grad_norm=1.0,
    passes=3,
    stop_ratio=None,
    token_budget=8192,
)


def changed(settings, **changes):
    return LoraSettings.subset_of(settings, **changes)


def prompt(name, tokens, answers, weights=None):
    sequences = [(*answer, 2) for answer in answers]
    weights = weights or [1 / len(answers)] * len(answers)
    texts = TargetSet(tuple(map(str, answers)), tuple(weights))
    asked = Prompt(id=name, text="?", targets=texts)
    return EncodedPrompt(asked, tokens, build(sequences, weights))


WORDS = prompt("a/words", [10, 11, 12], [(20, 21), (20, 22), (23,), (24, 25, 26)])
PROMPTS = [
    WORDS,
    prompt("a/uneven", [13, 14], [(30,), (31,), (31 + 1, 5)], [0.7, 0.2, 0.1]),
    prompt("b/one", [15, 16, 17, 18], [(40, 41)]),
    prompt("b/two", [19, 9], [(50,), (51,)]),
    prompt("b/three", [8, 9], [(50,), (51,), (52,)]),
]

# Short answers first, then long ones: passes of as many nodes, but not of as many inner ones.
DRAWN = np.random.default_rng(0).integers(20, 97, size=(40, 9)).tolist()
WIDE = prompt(
    "c/wide",
    [10, 19, 8],
    [*((a, b) for a in (20, 21) for b in range(40, 90)), *((30, *row) for row in DRAWN)],
)


def out_of_memory_above(tokens, refused):
    """A forward pre-hook that has no room for more tokens, and notes how many it was asked for."""

    def check(module, args, kwargs):
        asked = kwargs["input_ids"].numel()
        if asked > tokens:
            refused.append(asked)
            raise torch.OutOfMemoryError("out of memory")

    return check


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])


def sharp(base):
    """The model with a head that lets the adapter put nearly all mass on a few tokens."""
    base.lm_head.weight.data *= 3
    return base


def passes(history):
    return [history[at : at + len(PROMPTS)] for at in range(0, len(history), len(PROMPTS))]


def log_probs(model):
    return score(model, WORDS.tokens, WORDS.tree, Packed(), 4096)


def test_the_loss_falls_to_near_its_least_value(small_model):
    settings = changed(SETTINGS, passes=150)
    tuned = tune(sharp(small_model("Llama")), [WORDS], settings, seed=0)
    history, least = tuned.history, optimal_loss(WORDS.tree)
    assert history[0].loss > 5 * least
    assert least - 1e-4 <= history[-1].loss < 1.05 * least
    np.testing.assert_allclose(np.exp(log_probs(tuned.model)), 0.25, atol=0.05)


def test_uneven_weights_are_what_the_model_learns(small_model):
    uneven = PROMPTS[1]
    base = sharp(small_model("Llama"))
    settings = changed(SETTINGS, learning_rate=5e-3, passes=300)
    model = tune(base, [uneven], settings, seed=0).model
    scores = score(model, uneven.tokens, uneven.tree, Packed(), 4096)
    np.testing.assert_allclose(np.exp(scores), [0.7, 0.2, 0.1], atol=0.03)


def test_each_pass_takes_one_step_on_every_prompt_in_a_new_order(small_model):
    steps = []
    hook = register_optimizer_step_post_hook(lambda *_: steps.append(1))
    try:
        settings = changed(SETTINGS, passes=4)
        history = tune(small_model("Llama"), PROMPTS, settings, seed=0).history
    finally:
        hook.remove()
    assert len(steps) == len(history) == 4 * len(PROMPTS)
    assert [step.step for step in history] == list(range(len(history)))
    orders = [[step.prompt for step in taken] for taken in passes(history)]
    assert all(sorted(order) == sorted(p.id for p in PROMPTS) for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def test_the_history_says_each_step_s_loss_and_optimum(small_model):
    base = small_model("Llama")
    before = log_probs(base)
    [step] = tune(base, [WORDS], changed(SETTINGS, passes=1), seed=0).history
    assert step.loss == pytest.approx(-before.mean(), rel=1e-5)
    assert step.optimal == pytest.approx(math.log(4), rel=1e-9)
    assert step.prompt == "a/words"
    assert step.learning_rate == SETTINGS.learning_rate
    assert step.seconds > 0


def test_the_same_seed_gives_the_same_adapter_bytes(small_model, tmp_path):
    saved = []
    for name, seed in [("first", 5), ("again", 5), ("other", 6)]:
        torch.rand(17)  # the state that an earlier job left behind does not matter
        model = tune(small_model("Llama"), PROMPTS, SETTINGS, seed).model
        model.save_pretrained(tmp_path / name)
        saved.append((tmp_path / name / "adapter_model.safetensors").read_bytes())
    assert saved[0] == saved[1]
    assert saved[0] != saved[2]


def test_tuning_stops_after_the_first_pass_that_is_near_enough(small_model):
    settings = changed(SETTINGS, passes=100, stop_ratio=3.0)
    history = tune(small_model("Llama"), PROMPTS, settings, seed=0).history
    limit = 3.0 * math.fsum(optimal_loss(p.tree) for p in PROMPTS)
    sums = [math.fsum(step.loss for step in taken) for taken in passes(history)]
    assert len(history) % len(PROMPTS) == 0
    assert 1 < len(sums) < 100
    assert sums[-1] <= limit
    assert all(total > limit for total in sums[:-1])


def test_without_a_stop_ratio_every_pass_is_run(small_model):
    base = sharp(small_model("Llama"))
    history = tune(base, [WORDS], changed(SETTINGS, passes=60), seed=0).history
    assert len(history) == 60
    assert history[-10].loss < 1.5 * optimal_loss(WORDS.tree)


def test_the_base_weights_stay_as_they_were(small_model):
    base = small_model("Llama")
    before = copy.deepcopy(base.state_dict())
    tuned = tune(base, PROMPTS, SETTINGS, seed=0).model
    after = tuned.unload().state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_no_gradient_stays_behind(small_model):
    tuned = tune(small_model("Llama"), PROMPTS, SETTINGS, seed=0)
    assert all(p.grad is None for p in tuned.model.parameters())


def test_the_adapter_loads_and_merges_to_the_same_log_probabilities(small_model, tmp_path):
    tuned = tune(small_model("Llama"), PROMPTS, SETTINGS, seed=0).model
    expected, base = log_probs(tuned), log_probs(small_model("Llama"))
    tuned.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(small_model("Llama"), tmp_path)
    merged = load_adapter(small_model("Llama"), tmp_path)
    np.testing.assert_allclose(log_probs(loaded), expected, rtol=1e-5)
    np.testing.assert_allclose(log_probs(merged), expected, rtol=1e-4)
    assert not np.allclose(base, expected, rtol=0.01)


def test_an_adapter_is_trained_further_from_where_it_stood(small_model, tmp_path):
    """Section 6.1: the loss goes on from the start's, on other prompts, at the start's rank."""
    settings = changed(SETTINGS, passes=10)
    first = tune(small_model("Llama"), [WORDS], settings, seed=0).model
    stood = log_probs(first)
    first.save_pretrained(tmp_path / "start")
    before = (tmp_path / "start/adapter_model.safetensors").read_bytes()
    base = small_model("Llama")
    weights = copy.deepcopy(base.state_dict())
    further = changed(SETTINGS, rank=2, passes=5)
    tuned = tune(base, [WORDS], further, seed=0, start=tmp_path / "start")
    history = tuned.history
    assert history[0].loss == pytest.approx(-stood.mean(), rel=1e-4)
    assert history[-1].loss < history[0].loss
    tuned.model.save_pretrained(tmp_path / "further")
    end = load_file(tmp_path / "further/adapter_model.safetensors")
    start = load_file(tmp_path / "start/adapter_model.safetensors")
    assert end.keys() == start.keys()
    assert {min(weight.shape) for weight in end.values()} == {SETTINGS.rank}
    assert not any(torch.equal(end[key], start[key]) for key in end)
    assert (tmp_path / "start/adapter_model.safetensors").read_bytes() == before
    after = tuned.model.unload().state_dict()
    assert all(torch.equal(weights[key], after[key]) for key in weights)


def test_training_further_from_the_same_seed_gives_the_same_bytes(small_model, tmp_path):
    tune(small_model("Llama"), [WORDS], SETTINGS, seed=0).model.save_pretrained(tmp_path / "start")
    saved = []
    for name in ("one", "two"):
        base = small_model("Llama")
        tuned = tune(base, PROMPTS, SETTINGS, seed=3, start=tmp_path / "start")
        tuned.model.save_pretrained(tmp_path / name)
        saved.append((tmp_path / name / "adapter_model.safetensors").read_bytes())
    assert saved[0] == saved[1]


def test_a_start_that_is_no_adapter_is_one_line(small_model, tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path}: not a usable adapter") as error:
        tune(small_model("Llama"), [WORDS], SETTINGS, seed=0, start=tmp_path)
    assert "\n" not in str(error.value)


def test_the_adapter_has_the_rank_and_the_modules_of_the_settings(small_model, tmp_path):
    settings = changed(SETTINGS, rank=3, target_modules=("q_proj", "down_proj"), passes=1)
    tuned = tune(small_model("Llama"), [WORDS], settings, seed=0)
    tuned.model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    assert len(weights) == 2 * 2 * 2  # layers, modules, A and B
    assert {min(weight.shape) for weight in weights.values()} == {3}
    assert all("q_proj" in key or "down_proj" in key for key in weights)


def test_gradients_are_clipped_at_the_norm(small_model, monkeypatch):
    norms, clip = [], torch.nn.utils.clip_grad_norm_

    def recorded(parameters, limit):
        parameters = list(parameters)
        before = clip(parameters, limit)
        after = torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()
        norms.append((before.item(), after.item()))
        return before

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", recorded)
    tune(small_model("Llama"), PROMPTS, changed(SETTINGS, max_grad_norm=0.01), seed=0)
    assert len(norms) == 3 * len(PROMPTS)
    assert all(after <= 0.01 * 1.001 for _, after in norms)
    assert any(before > 0.01 for before, _ in norms)


def test_a_small_token_budget_accumulates_the_same_gradient(small_model):
    found = []
    for budget in (8192, 6):
        tuned = tune(small_model("Llama"), [WORDS], changed(SETTINGS, passes=1), seed=0).model
        trees = split(WORDS, budget, Packed())
        assert len(trees) == 1 or budget == 6
        loss = gradient(tuned, WORDS, trees, Packed())
        trained = [p for p in tuned.parameters() if p.requires_grad]
        found.append((loss, torch.cat([p.grad.flatten() for p in trained])))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    assert (found[1][1] - found[0][1]).norm() <= 1e-5 * found[0][1].norm()


@pytest.mark.parametrize(
    ("family_name", "modules", "budget"),
    [
        ("Llama", SETTINGS.target_modules, 8192),
        ("Llama", ("q_proj",), 64),
        ("Mamba", ("x_proj",), 128),
    ],
)
def test_the_tokens_counted_are_those_that_the_passes_read(
    small_model, family_name, modules, budget
):
    base, read = small_model(family_name), []

    def count(module, args, kwargs):
        if module.training:  # not the passes that compare the packed pass with the padded loop
            read.append(kwargs["input_ids"].numel())

    base.register_forward_pre_hook(count, with_kwargs=True)
    settings = changed(SETTINGS, target_modules=modules, token_budget=budget, passes=2)
    tuned = tune(base, [*PROMPTS, WIDE], settings, seed=0)
    assert tuned.tokens == sum(read)
    assert (len(read) > 2 * 6) == (budget < 8192)
    assert max(read) <= tuned.token_budget == budget


def test_where_memory_runs_out_smaller_passes_give_the_same_adapter(small_model):
    """One attempt fails in its first pass, one in its second, when it has part of the gradient."""
    settings, prompts = (
        changed(SETTINGS, token_budget=512),
        [WORDS, WIDE, PROMPTS[3]],
    )
    expected = tune(small_model("Llama"), prompts, settings, seed=0)
    base, refused = small_model("Llama"), []
    base.register_forward_pre_hook(out_of_memory_above(170, refused), with_kwargs=True)
    trees = split(WIDE, 256, Packed())
    first, second, *_ = [Packed().tokens_read(len(WIDE.tokens), tree) for tree in trees]
    assert first <= 170 < second
    tuned = tune(base, prompts, settings, seed=0)
    assert (refused[1:], tuned.token_budget) == ([second], 128)
    assert expected.token_budget == 512
    assert tuned.tokens > expected.tokens
    np.testing.assert_allclose(
        [step.loss for step in tuned.history],
        [step.loss for step in expected.history],
        rtol=1e-4,
    )
    difference = flat(tuned.model) - flat(expected.model)
    assert difference.norm() <= 1e-4 * flat(expected.model).norm()


def test_without_a_token_budget_passes_are_as_large_as_memory_allows(small_model):
    base = small_model("Llama")
    expected = tokens_that_fit(base, training=True)
    settings = changed(SETTINGS, token_budget=None, passes=1)
    assert tune(base, [WORDS], settings, seed=0).token_budget == expected


def test_a_loss_that_is_not_finite_raises_before_any_step(small_model):
    base = small_model("Llama")
    # A token that only this prompt reads overflows the model.
    base.get_input_embeddings().weight.data[10] = math.inf
    with pytest.raises(NonFiniteLossError, match="a/words: the loss is nan; expected a finite"):
        tune(base, [WORDS], SETTINGS, seed=0)
    raised = {name: p for name, p in base.named_parameters() if "lora_B" in name}
    assert raised
    assert all((p == 0).all() for p in raised.values())


def test_a_learning_rate_that_is_far_too_large_ends_in_that_error(small_model):
    with pytest.raises(NonFiniteLossError, match="lower the learning rate"):
        tune(
            small_model("Llama"),
            [WORDS],
            changed(SETTINGS, learning_rate=1e30),
            seed=0,
        )


def test_a_window_shorter_than_the_longest_prompt_is_noticed(small_model, caplog):
    """The first prompt fits into the window; the second does not."""
    long = prompt("c/long", list(range(30, 50)), [(60,), (61,)])
    base = small_model("Mistral", sliding_window=12)
    reference = score(
        small_model("Mistral", sliding_window=12),
        long.tokens,
        long.tree,
        Padded(),
        4096,
    )
    with caplog.at_level(logging.WARNING, logger="diffuselm"):
        settings = changed(SETTINGS, learning_rate=1e-9)
        history = tune(base, [WORDS, long], settings, seed=0).history
    losses = [step.loss for step in history if step.prompt == "c/long"]
    assert losses[0] == pytest.approx(-reference.mean(), rel=1e-4)
    assert len(caplog.records) == 1


def test_a_state_space_model_can_be_tuned(small_model):
    settings = changed(SETTINGS, target_modules=("in_proj", "x_proj"), passes=15)
    history = tune(small_model("Mamba"), [WORDS], settings, seed=0).history
    assert history[-1].loss < 0.8 * history[0].loss


def test_a_module_that_the_model_lacks_is_refused(small_model):
    """PEFT tunes what it finds and says nothing: Phi-3's fused projections have other names."""
    with pytest.raises(InputError, match=r"Phi3ForCausalLM has no q_proj, .*qkv_proj"):
        tune(small_model("Phi-3"), [WORDS], SETTINGS, seed=0)
