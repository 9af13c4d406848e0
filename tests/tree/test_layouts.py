"""Eq. 5 over the tree: numbers and gradients of plain padded rows, or a warning says why not."""

import logging

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy

from diffuselm.tree import attention
from diffuselm.tree.layouts import Packed, Padded, choose_layout, score
from diffuselm.tree.objective import distribution_matching_loss, target_log_probs
from diffuselm.tree.prefix_tree import build, optimal_loss, partition, subtree

PROMPT = list(range(10, 20))
SLIDING = ["Mistral", "Gemma 2", "Gemma 3"]


def plain_log_probs(model, prompt, sequences):
    """The reference, with nothing of the package: full rows, and the answers' cross-entropy."""
    width = len(prompt) + max(map(len, sequences))
    ids = torch.zeros((len(sequences), width), dtype=torch.long)
    attended = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for row, sequence in enumerate(sequences):
        whole = torch.tensor([*prompt, *sequence])
        ids[row, : len(whole)] = whole
        attended[row, : len(whole)] = 1
        labels[row, len(prompt) : len(whole)] = torch.tensor(sequence)
    logits = model(input_ids=ids, attention_mask=attended, use_cache=False).logits
    losses = cross_entropy(
        logits[:, :-1].transpose(1, 2).float(), labels[:, 1:], ignore_index=-100, reduction="none"
    )
    return -losses.sum(dim=1)


def plain_loss(model, prompt, sequences, weights):
    return -(torch.tensor(weights).float() * plain_log_probs(model, prompt, sequences)).sum()


def gradient(model, loss):
    """All gradients as one vector; a parameter that the loss does not reach counts as zero."""
    model.zero_grad()
    loss.backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    return torch.cat([grad.flatten().double() for grad in grads])


def packed_loss(model, tree):
    return distribution_matching_loss(Packed().log_probs(model, PROMPT, tree), tree)


def with_lora(model):
    """An adapter on every projection; B is not zero, so that A has a gradient too."""
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    torch.manual_seed(0)
    return get_peft_model(model, config)


def warnings(caplog):
    return [r for r in caplog.records if r.levelno == logging.WARNING and "diffuselm" in r.name]


@pytest.fixture(params=[3, attention.HEIGHT])
def blocks(request, monkeypatch):
    """Queries that are attended at a time: some, and all."""
    monkeypatch.setattr(attention, "HEIGHT", request.param)


def test_packed_scores_equal_plain_ones(small_model, family, targets, tree, blocks):
    model = small_model(family)
    with torch.no_grad():
        plain = plain_log_probs(model, PROMPT, targets[0]).double().numpy()
    scores = score(model, PROMPT, tree, Packed(), token_budget=4096)
    np.testing.assert_allclose(scores, plain, rtol=1e-5)


def test_packed_loss_and_gradient_equal_plain_ones(small_model, family, targets, tree, blocks):
    model = small_model(family)
    packed, plain = packed_loss(model, tree), plain_loss(model, PROMPT, *targets)
    assert packed.item() == pytest.approx(plain.item(), rel=1e-5)
    expected = gradient(model, plain)
    assert (gradient(model, packed) - expected).norm() <= 1e-5 * expected.norm()


def test_packed_gradient_of_an_adapter_equals_the_plain_one(
    small_model, family, targets, tree, blocks
):
    model = with_lora(small_model(family)).train()
    expected = gradient(model, plain_loss(model, PROMPT, *targets))
    found = gradient(model, packed_loss(model, tree))
    assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_parts_of_a_split_tree_add_up_to_the_same_gradient(small_model, targets, tree):
    model = with_lora(small_model("Llama"))
    expected = gradient(model, plain_loss(model, PROMPT, *targets))
    parts = [subtree(tree, targets) for targets in partition(tree, 20)]
    assert len(parts) > 3
    found = sum(gradient(model, packed_loss(model, part)) for part in parts)
    assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_padded_loop_equals_plain_rows(small_model, targets, tree):
    model = small_model("Llama")
    padded = Padded().log_probs(model, PROMPT, tree)
    plain = plain_log_probs(model, PROMPT, targets[0])
    np.testing.assert_allclose(target_log_probs(padded, tree), plain.detach(), rtol=1e-5)
    expected = gradient(model, plain_loss(model, PROMPT, *targets))
    found = gradient(model, distribution_matching_loss(padded, tree))
    assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_models_with_full_attention_take_the_tree_mask_in_silence(
    small_model, family, tree, caplog
):
    assert choose_layout(small_model(family), [(PROMPT, tree)]) == Packed()
    assert not warnings(caplog)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_does_not_lose_the_tree_mask(small_model, tree, dtype):
    model = small_model("Llama").to(dtype)
    assert choose_layout(model, [(PROMPT, tree)]) == Packed()


def test_a_state_space_model_falls_back_with_one_warning(small_model, targets, tree, caplog):
    model = small_model("Mamba")
    method = choose_layout(model, [(PROMPT, tree)])
    assert method == Padded()
    [warning] = warnings(caplog)
    assert warning.getMessage().startswith("MambaForCausalLM cannot take a tree mask (")
    assert "\n" not in warning.getMessage()
    plain = plain_log_probs(model, PROMPT, targets[0])
    scores = score(model, PROMPT, tree, method, token_budget=40)
    np.testing.assert_allclose(scores, plain.detach(), rtol=1e-5)
    expected = gradient(model, plain_loss(model, PROMPT, *targets))
    found = gradient(model, distribution_matching_loss(method.log_probs(model, PROMPT, tree), tree))
    assert (found - expected).norm() <= 1e-5 * expected.norm()
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("name", SLIDING)
def test_a_window_shorter_than_the_longest_target_is_noticed(small_model, name, tree, caplog):
    """The last token of the longest target is predicted from `reach` positions."""
    reach = len(PROMPT) + int(tree.depth.max())
    for window in range(2, reach):
        model = small_model(name, sliding_window=window)
        assert choose_layout(model, [(PROMPT, tree)]) == Padded(), window
    assert len(warnings(caplog)) == reach - 2
    model = small_model(name, sliding_window=reach)
    assert choose_layout(model, [(PROMPT, tree)]) == Packed()


@pytest.mark.parametrize("name", SLIDING)
def test_a_window_that_cuts_one_late_long_target_is_noticed(small_model, name):
    """Ten short targets stand before the one that the window cuts."""
    tree = build([*((token, 2) for token in range(20, 30)), (*range(30, 40), 2)], [1 / 11] * 11)
    model = small_model(name, sliding_window=len(PROMPT) + 6)
    assert choose_layout(model, [(PROMPT, tree)]) == Padded()


@pytest.mark.parametrize("name", SLIDING)
def test_scores_under_a_short_window_equal_plain_ones(small_model, name, targets, tree):
    model = small_model(name, sliding_window=8)
    with torch.no_grad():
        plain = plain_log_probs(model, PROMPT, targets[0]).double().numpy()
    method = choose_layout(model, [(PROMPT, tree)])
    np.testing.assert_allclose(score(model, PROMPT, tree, method, 4096), plain, rtol=1e-5)


@pytest.mark.parametrize("token_budget", [1, 15, 40, 10_000])
def test_scores_keep_the_order_of_the_targets_under_any_budget(
    small_model, targets, tree, token_budget
):
    model = small_model("Llama")
    with torch.no_grad():
        plain = plain_log_probs(model, PROMPT, targets[0]).double().numpy()
    scores = score(model, PROMPT, tree, Packed(), token_budget)
    np.testing.assert_allclose(scores, plain, rtol=1e-5)


def test_packed_pass_holds_each_prefix_once(small_model, tree):
    """The cost of a pass: the prompt once, and each prefix that has a next token once."""
    model, seen = small_model("Llama"), []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    Packed().log_probs(model, PROMPT, tree)
    assert seen == [(1, len(PROMPT) + len(tree.inner))]
    assert len(tree.inner) < sum(len(tree.sequence(t)) for t in range(len(tree.leaf))) / 2


def test_a_complete_tree_has_probability_one(small_model):
    """All two-token answers of a vocabulary: Eq. 1 leaves nothing over."""
    model = small_model("Llama", vocab_size=11, bos_token_id=1)
    pairs = [(a, b) for a in range(11) for b in range(11)]
    tree = build(pairs, [1 / 121] * 121)
    scores = score(model, [3, 4, 5], tree, Packed(), token_budget=64)
    assert np.exp(scores).sum() == pytest.approx(1, rel=1e-5)


def test_the_loss_is_the_entropy_once_the_model_is_the_target_distribution(small_model):
    model = small_model("Llama", vocab_size=11)
    pairs = [(a, b) for a in range(11) for b in range(11)]
    scores = score(model, [3, 4], build(pairs, [1 / 121] * 121), Packed(), 1000)
    own = build(pairs, np.exp(scores))
    loss = distribution_matching_loss(Packed().log_probs(model, [3, 4], own), own)
    assert loss.item() == pytest.approx(optimal_loss(own), rel=1e-5)
