"""The prefix tree of a target set: each distinct token prefix once, with the mass below it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diffuselm.errors import InputError


@dataclass(frozen=True)
class PrefixTree:
    """Token sequences as a tree, n nodes, parents before children, the root (the prompt) left out.

    A node stands for one token after one prefix; `parent` is -1 where that prefix is empty.
    """

    token: np.ndarray  # (n,) int64: token id of each node
    parent: np.ndarray  # (n,) int64: index of the parent node, -1 for the root's children
    depth: np.ndarray  # (n,) int64: 0 for the root's children
    mass: np.ndarray  # (n,) float64: summed weight of the sequences through the node
    leaf: np.ndarray  # (targets,) int64: the node that ends each sequence

    def __len__(self) -> int:
        return len(self.token)

    @cached_property
    def inner(self) -> np.ndarray:
        """Nodes that have children, ascending: with the root, the prefixes to be forwarded."""
        return np.unique(self.parent[self.parent >= 0])

    def path(self, node: int) -> list[int]:
        """Nodes from the root's child down to `node`."""
        nodes = []
        while node >= 0:
            nodes.append(int(node))
            node = self.parent[node]
        return nodes[::-1]

    def sequence(self, target: int) -> list[int]:
        """Token ids of one target, as they went in."""
        return [int(self.token[node]) for node in self.path(self.leaf[target])]

    @cached_property
    def ancestors(self) -> np.ndarray:
        """(n, n) bool: whether the column's node is the row's node or one of its ancestors."""
        sees = np.eye(len(self), dtype=bool)
        for node, parent in enumerate(self.parent):
            if parent >= 0:
                sees[node] |= sees[parent]
        return sees


def build(sequences: Sequence[Sequence[int]], weights: Sequence[float]) -> PrefixTree:
    """Build the prefix tree of token sequences and their weights.

    Raises InputError unless the sequences are non-empty, distinct and prefix-free (section 3.1).
    """
    nodes: list[tuple[int, int, int]] = []  # token, parent, depth
    mass: list[float] = []
    leaf: list[int] = []
    children: dict[tuple[int, int], int] = {}
    for index, (sequence, weight) in enumerate(zip(sequences, weights, strict=True)):
        if not len(sequence):
            raise InputError(f"target {index} has no tokens; expected at least one")
        node = -1
        for depth, token in enumerate(sequence):
            child = children.setdefault((node, token), len(nodes))
            if child == len(nodes):
                nodes.append((token, node, depth))
                mass.append(0.0)
            mass[child] += weight
            node = child
        leaf.append(node)
    token, parent, depth = np.array(nodes, dtype=np.int64).reshape(-1, 3).T.copy()
    tree = PrefixTree(token, parent, depth, np.asarray(mass), np.asarray(leaf, dtype=np.int64))
    _check_prefix_free(tree)
    return tree


def _check_prefix_free(tree: PrefixTree) -> None:
    """Raise InputError where a sequence ends inside, or at the end of, another."""
    if len(set(tree.leaf.tolist())) < len(tree.leaf):
        nodes, counts = np.unique(tree.leaf, return_counts=True)
        twice = np.flatnonzero(tree.leaf == nodes[counts > 1][0])
        raise InputError(
            f"targets {twice.tolist()} are the same token sequence; expected distinct targets"
        )
    ends_inside = np.flatnonzero(np.isin(tree.leaf, tree.parent))
    if len(ends_inside):
        raise InputError(
            f"target {ends_inside[0]} is a prefix of another target; expected a prefix-free set"
        )


def optimal_loss(tree: PrefixTree) -> float:
    """Entropy of the weights in nats: the least value of Eq. 5, reached when KL (Eq. 2) is zero."""
    weights = tree.mass[tree.leaf]
    return -math.fsum(w * math.log(w) for w in weights.tolist())


def subtree(tree: PrefixTree, targets: Sequence[int]) -> PrefixTree:
    """The tree of some of the targets, with their own weights."""
    return build([tree.sequence(t) for t in targets], [tree.mass[tree.leaf[t]] for t in targets])


def pruned(tree: PrefixTree, nodes: np.ndarray) -> PrefixTree:
    """The tree of some nodes, ascending, each with all its ancestors; sequences may end earlier."""
    number = np.full(len(tree) + 1, -1)
    number[nodes] = np.arange(len(nodes))
    parent = number[tree.parent[nodes]]
    leaf = np.setdiff1d(np.arange(len(nodes)), parent)
    return PrefixTree(tree.token[nodes], parent, tree.depth[nodes], tree.mass[nodes], leaf)


def partition(tree: PrefixTree, nodes: int) -> list[list[int]]:
    """Partition the targets, in order of tokens, into groups that span at most `nodes` nodes."""
    if len(tree) <= nodes:
        return [list(range(len(tree.leaf)))]
    groups: list[list[int]] = []
    spanned: set[int] = set()
    for target in sorted(range(len(tree.leaf)), key=tree.sequence):
        path = set(tree.path(tree.leaf[target]))
        if not groups or len(spanned | path) > nodes:
            groups.append([])
            spanned = set()
        groups[-1].append(target)
        spanned |= path
    return groups
