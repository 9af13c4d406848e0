"""The three losses of a training estimate the same gradient, at equal tokens."""

import numpy as np
import pytest
import torch
from test_checkpoint import STEPS, assert_same, killed, resumed, trained
from test_loop import SETTINGS, WIDE, WORDS, changed, prompt

from diffuselm.methods.hard_labels import HardLabels
from diffuselm.methods.ours import Ours
from diffuselm.methods.soft_labels import SoftLabels
from diffuselm.tree.layouts import Packed
from diffuselm.tuning.adapter import adapter_on
from diffuselm.tuning.loop import gradient, rows_of, split, tune, weighted

REPEATS = 2000
DRAWN = {"hard": HardLabels(), "soft": SoftLabels()}
UNEVEN = prompt(
    "a/uneven",
    [10, 11, 12],
    [(20, 21), (20, 22, 4), (20, 22, 5), (23,), (24, 25, 26)],
    [0.4, 0.1, 0.15, 0.25, 0.1],
)


@pytest.fixture
def tuned(small_model):
    """A model with an adapter of a few parameters, away from where half of them are 0."""
    settings = changed(SETTINGS, rank=1, target_modules=("v_proj",))
    model = adapter_on(small_model("Llama"), settings, None, Ours())
    generator = torch.Generator().manual_seed(1)
    for parameter in parameters(model):
        parameter.data.normal_(0, 0.3, generator=generator)
    return model


def parameters(model):
    return [p for p in model.parameters() if p.requires_grad]


def gradient_of(model, asked, weights, parts=None):
    parts = [asked.tree] if parts is None else parts
    gradient(model, asked, weighted(parts, asked.tree, weights), Packed())
    return torch.cat([p.grad.flatten() for p in parameters(model)]).double().numpy()


def gradients_of_nodes(model, asked):
    """(n, parameters): the gradient of each node's -log p alone, of which each loss is a sum."""
    return np.stack([gradient_of(model, asked, row) for row in np.eye(len(asked.tree))])


@pytest.mark.parametrize("method", DRAWN.values(), ids=DRAWN)
@pytest.mark.parametrize("rows", [1, 3])
def test_the_mean_gradient_over_many_draws_is_that_of_the_whole_tree(tuned, method, rows):
    """Eq. 5, by Hotelling's test, which weighs each direction of the gradient by its own noise."""
    tree, of_nodes = UNEVEN.tree, gradients_of_nodes(tuned, UNEVEN)
    rng = np.random.default_rng(0)
    weights = np.stack([method.node_weights(tree, rng, rows) for _ in range(REPEATS)])
    found, exact = weights @ of_nodes, gradient_of(tuned, UNEVEN, tree.mass)
    np.testing.assert_allclose(
        found[0], gradient_of(tuned, UNEVEN, weights[0]), atol=1e-4 * np.abs(exact).max()
    )
    off, spread = found.mean(axis=0) - exact, found - found.mean(axis=0)
    _, size, directions = np.linalg.svd(spread / np.sqrt(REPEATS - 1), full_matrices=False)
    free = size > 1e-6 * size[0]
    z = (directions[free] @ off) / (size[free] / np.sqrt(REPEATS))
    assert 3 <= free.sum() <= len(tree)
    assert np.abs(z).max() < 4
    # And nothing is off where there is no noise.
    rest = off - directions[free].T @ (directions[free] @ off)
    assert np.abs(rest).max() < 1e-5 * np.abs(exact).max()


@pytest.mark.parametrize("method", DRAWN.values(), ids=DRAWN)
def test_a_split_tree_has_the_gradient_of_the_whole(tuned, method):
    rng = np.random.default_rng(5)
    weights = method.node_weights(WIDE.tree, rng, rows_of(WIDE, Packed()))
    parts = split(WIDE, 64, Packed())
    found = gradient_of(tuned, WIDE, weights, parts)
    expected = gradient_of(tuned, WIDE, weights)
    assert len(parts) > 3
    assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("method", DRAWN.values(), ids=DRAWN)
@pytest.mark.parametrize("asked", [WORDS, WIDE, UNEVEN], ids=lambda asked: asked.id)
def test_the_tokens_of_a_step_are_those_of_its_rows(method, asked):
    """The same draws, as answers: each a row of the prompt and all its tokens but the last."""
    rows, tree = rows_of(asked, Packed()), asked.tree
    packed, length = Packed().tokens_read(len(asked.tokens), tree), len(asked.tokens)
    read = []
    for seed in range(200):
        weights = method.node_weights(tree, np.random.default_rng(seed), rows)
        shares = HardLabels().node_weights(tree, np.random.default_rng(seed), rows)
        counts = np.rint(shares[tree.leaf] * rows).astype(int)
        assert counts.sum() == rows
        expected = (counts * (length + tree.depth[tree.leaf])).sum()
        read.append(method.tokens_read(packed, length, tree, weights, rows))
        assert read[-1] == expected
    assert abs(np.mean(read) - packed) <= 0.6 * packed / rows  # half a row, and chance
    assert rows == {WORDS: 2, WIDE: 63, UNEVEN: 2}[asked]


@pytest.mark.parametrize("method", DRAWN.values(), ids=DRAWN)
def test_weights_follow_seed_prompt_and_step_alone(small_model, method):
    """However the passes are split, and for each step anew."""
    found = []
    for budget, seed in ((8192, 0), (64, 0), (8192, 1)):
        settings = changed(SETTINGS, learning_rate=1e-12, token_budget=budget)
        tuned = tune(small_model("Llama"), [WORDS, WIDE], settings, seed, method=method)
        found.append((tuned.tokens, sorted((s.prompt, s.loss) for s in tuned.history)))
    (tokens, whole), (of_split, parts), (_, other) = found
    assert tokens == of_split
    np.testing.assert_allclose([loss for _, loss in parts], [loss for _, loss in whole], rtol=1e-4)
    assert not np.allclose([loss for _, loss in other], [loss for _, loss in whole], rtol=1e-4)
    of_wide = [loss for name, loss in whole if name == WIDE.id]
    assert len(set(of_wide)) == SETTINGS.passes  # each step draws anew


@pytest.mark.parametrize("method", DRAWN.values(), ids=DRAWN)
def test_a_killed_training_draws_on_as_it_would_have(small_model, tmp_path, method):
    path, arguments = tmp_path / "checkpoint", {"method": method}
    killed(6, small_model("Llama"), path, **arguments)
    found, taken = resumed(small_model("Llama"), path, **arguments)
    assert taken == STEPS - 4
    assert_same(found, trained(small_model("Llama"), None, **arguments), tmp_path)
