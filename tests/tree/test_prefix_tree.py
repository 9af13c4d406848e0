"""The prefix tree: what goes in comes out, mass is kept, and the parts of a split are the whole."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffuselm.errors import InputError
from diffuselm.tree.prefix_tree import build, optimal_loss, partition, pruned, subtree

END = 9
BODY = st.lists(st.integers(0, 4), max_size=6).map(tuple)
WEIGHT = st.floats(1e-6, 1.0)


def split(tree, nodes):
    return [subtree(tree, targets) for targets in partition(tree, nodes)]


@st.composite
def weighted_targets(draw):
    """Distinct sequences closed by an end token, hence prefix-free, and positive weights."""
    bodies = draw(st.lists(BODY, min_size=1, max_size=25, unique=True))
    weights = draw(st.lists(WEIGHT, min_size=len(bodies), max_size=len(bodies)))
    return [(*body, END) for body in bodies], weights


@given(weighted_targets())
def test_each_target_comes_out_as_it_went_in(targets):
    sequences, weights = targets
    tree = build(sequences, weights)
    assert [tuple(tree.sequence(t)) for t in range(len(sequences))] == sequences
    assert tree.mass[tree.leaf].tolist() == pytest.approx(weights, rel=1e-12)


@given(weighted_targets())
def test_there_is_one_node_for_each_distinct_prefix(targets):
    sequences, weights = targets
    prefixes = {s[:length] for s in sequences for length in range(1, len(s) + 1)}
    tree = build(sequences, weights)
    found = [tuple(int(tree.token[n]) for n in tree.path(node)) for node in range(len(tree))]
    assert len(found) == len(prefixes)
    assert set(found) == prefixes


@given(weighted_targets())
def test_parents_stand_before_their_children_and_one_level_up(targets):
    tree = build(*targets)
    top = tree.parent < 0
    assert (tree.parent < np.arange(len(tree))).all()
    assert (tree.depth[top] == 0).all()
    assert (tree.depth[~top] == tree.depth[tree.parent[~top]] + 1).all()


@given(weighted_targets())
def test_mass_is_kept_at_every_cut(targets):
    """The nodes of one depth, with the targets that ended above, carry all of the weight."""
    tree = build(*targets)
    for depth in range(tree.depth.max() + 1):
        ended = tree.leaf[tree.depth[tree.leaf] < depth]
        cut = tree.mass[tree.depth == depth].sum() + tree.mass[ended].sum()
        assert cut == pytest.approx(sum(targets[1]), rel=1e-12)


@given(weighted_targets())
def test_mass_of_an_inner_node_is_that_of_its_children(targets):
    tree = build(*targets)
    below = np.zeros(len(tree))
    np.add.at(below, tree.parent[tree.parent >= 0], tree.mass[tree.parent >= 0])
    assert below[tree.inner].tolist() == pytest.approx(tree.mass[tree.inner].tolist(), rel=1e-9)
    assert sorted({*tree.inner.tolist(), *tree.leaf.tolist()}) == list(range(len(tree)))
    assert not set(tree.inner) & set(tree.leaf)


@given(weighted_targets())
def test_a_node_has_exactly_the_nodes_of_its_path_as_ancestors(targets):
    tree = build(*targets)
    sees = tree.ancestors
    for node in range(len(tree)):
        assert np.flatnonzero(sees[node]).tolist() == sorted(tree.path(node))


@given(weighted_targets(), st.integers(1, 40))
def test_runs_partition_the_targets_and_keep_to_the_budget(targets, budget):
    tree = build(*targets)
    parts = partition(tree, budget)
    assert sorted(t for part in parts for t in part) == list(range(len(tree.leaf)))
    for part in parts:
        assert len(part) == 1 or len(subtree(tree, part)) <= budget
    if len(tree) <= budget:
        assert len(parts) == 1


@given(weighted_targets(), st.integers(1, 40))
def test_split_parts_hold_the_targets_with_their_own_weights(targets, budget):
    sequences, weights = targets
    held = {}
    for part in split(build(sequences, weights), budget):
        for target, leaf in enumerate(part.leaf):
            assert tuple(part.sequence(target)) not in held
            held[tuple(part.sequence(target))] = part.mass[leaf]
    assert held == pytest.approx(dict(zip(sequences, weights, strict=True)), rel=1e-12)


def test_split_keeps_neighbours_together_however_the_targets_are_ordered():
    bodies = [(first, second) for second in range(4) for first in range(4)]
    parts = split(build([(*body, END) for body in bodies], [1 / 16] * 16), 9)
    assert [{part.sequence(t)[0] for t in range(4)} for part in parts] == [{0}, {1}, {2}, {3}]


def test_sequences_may_be_arrays():
    tree = build(np.array([[1, 2], [1, 3]]), np.array([0.25, 0.75]))
    assert len(tree) == 3
    assert tree.sequence(1) == [1, 3]


@given(weighted_targets(), st.data())
def test_a_prefix_of_another_target_is_refused(targets, data):
    sequences, _ = targets
    whole = data.draw(st.sampled_from(sequences))
    longer = (*whole, 7)
    for pair in ([whole, longer], [longer, whole]):
        at = pair.index(whole)
        with pytest.raises(InputError, match=f"target {at} is a prefix of another target"):
            build(pair, [0.5, 0.5])


def test_duplicates_are_refused_by_their_indices():
    with pytest.raises(InputError, match=r"targets \[0, 2\] are the same token sequence"):
        build([(1, 2), (1, 3), (1, 2)], [0.2, 0.3, 0.5])


def test_a_target_without_tokens_is_refused():
    with pytest.raises(InputError, match="target 1 has no tokens"):
        build([(1, 2), ()], [0.5, 0.5])


def test_targets_and_weights_of_different_number_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        build([(1,), (2,)], [1.0])


def test_the_least_loss_is_the_entropy_of_the_weights():
    assert optimal_loss(build([(1,), (2,), (3, 4)], [0.5, 0.25, 0.25])) == pytest.approx(
        1.5 * math.log(2), rel=1e-12
    )


@given(st.integers(1, 60))
def test_the_least_loss_of_a_uniform_target_set_is_the_log_of_its_size(size):
    tree = build([(n, END) for n in range(size)], [1 / size] * size)
    assert optimal_loss(tree) == pytest.approx(math.log(size), abs=1e-12)


@given(weighted_targets(), st.integers(1, 40))
def test_the_least_losses_of_the_parts_sum_to_that_of_the_whole(targets, budget):
    tree = build(*targets)
    parts = [optimal_loss(part) for part in split(tree, budget)]
    assert math.fsum(parts) == pytest.approx(optimal_loss(tree), rel=1e-9, abs=1e-12)


def test_a_pruned_tree_has_the_chosen_nodes_and_no_others(tree):
    kept = np.flatnonzero(tree.depth < 3)
    found = pruned(tree, kept)
    assert len(found) == len(kept) < len(tree)
    paths = {tuple(tree.token[tree.path(node)]) for node in kept}
    assert {tuple(found.token[found.path(node)]) for node in range(len(found))} == paths
    np.testing.assert_array_equal(found.mass, tree.mass[kept])
    np.testing.assert_array_equal(found.depth, tree.depth[kept])
    assert {*found.leaf} == {*range(len(found))} - {*found.inner}
