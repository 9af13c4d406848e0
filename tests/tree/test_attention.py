"""Attention by blocks of queries: that of the whole mask, over fewer keys."""

import gc
import weakref

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from diffuselm.tree import attention
from diffuselm.tree.attention import TreeAttention
from diffuselm.tree.layouts import Packed, packed_mask
from diffuselm.tree.prefix_tree import build

PROMPT = 5


@pytest.fixture
def tree():
    """Answers of six tokens that part after two."""
    rng = np.random.default_rng(3)
    answers = [(a, b, *rng.integers(0, 30, 4).tolist()) for a in range(8) for b in range(6)]
    return build(answers, np.full(len(answers), 1 / len(answers)))


@pytest.fixture
def mask(tree):
    seen = packed_mask(PROMPT, tree.ancestors)
    return torch.zeros(1, 1, *seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)


@pytest.mark.parametrize("height", [1, 7, 64, 10_000])
@pytest.mark.parametrize("heads", [1, 2, 6])
def test_outputs_and_gradients_are_those_of_the_whole_mask(mask, heads, height, monkeypatch):
    monkeypatch.setattr(attention, "HEIGHT", height)
    monkeypatch.setattr(attention, "BLOCKS", 1000)
    torch.manual_seed(0)
    length = mask.shape[-1]
    query = torch.randn(1, 6, length, 8, requires_grad=True)
    key, value = (torch.randn(1, heads, length, 8, requires_grad=True) for _ in "kv")
    given, back = (query, key, value), torch.randn(1, length, 6, 8)

    repeated = (each.repeat_interleave(6 // heads, dim=1) for each in (key, value))
    whole = scaled_dot_product_attention(query, *repeated, attn_mask=mask, scale=0.3)
    expected = torch.autograd.grad(whole.transpose(1, 2), given, back)
    found, none = TreeAttention()(torch.nn.Module(), *given, mask, scaling=0.3)
    assert none is None
    torch.testing.assert_close(found, whole.transpose(1, 2))
    torch.testing.assert_close(torch.autograd.grad(found, given, back), expected)


def test_blocks_hold_few_of_the_pairs(mask, tree, monkeypatch):
    monkeypatch.setattr(attention, "HEIGHT", 12)
    made, length = TreeAttention(), mask.shape[-1]
    heads = torch.randn(1, 1, length, 8)
    made(torch.nn.Module(), heads, heads, heads, mask)
    assert len(made.blocks) == attention.BLOCKS
    assert sum(part.numel() for _, _, part in made.blocks) < length**2 / 4


def test_masks_are_let_go_after_a_pass(small_model, tree, monkeypatch):
    """They are as large as the square of the tokens."""
    made, call = [], TreeAttention.__call__

    def noted(self, *args, **settings):
        found = call(self, *args, **settings)
        made.append(weakref.ref(self.mask))
        return found

    monkeypatch.setattr(TreeAttention, "__call__", noted)
    model = small_model("Llama")
    with torch.no_grad():
        Packed().log_probs(model, range(PROMPT), tree)
    gc.collect()
    assert len(made) == model.config.num_hidden_layers
    assert all(mask() is None for mask in made)
    assert model.config._attn_implementation == "sdpa"
