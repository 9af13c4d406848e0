"""A form as an automaton over tokens, to hold answers to it.

A state belongs to a prefix of tokens, so that a walk over a prefix tree carries one number a node.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from diffuselm.tree.prefix_tree import PrefixTree


@dataclass(frozen=True)
class Form:
    """The tokens that may follow in each state, and the state after each of them."""

    step: np.ndarray  # (states, vocabulary) int64: the next state, -1 where a token may not follow
    start: int

    def next(self, states: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """The states after one more token each, shapes (rows,); -1 stays -1."""
        return np.where(states < 0, -1, self.step[states, tokens])

    def hold(self, logits: Tensor, states: np.ndarray) -> Tensor:
        """(rows, vocabulary) logits with -inf for each token that may not follow in its row.

        Where the form was left before, in state -1, they stay as they are.
        """
        return logits.masked_fill(self._barred[states].to(logits.device), float("-inf"))

    @cached_property
    def _barred(self) -> Tensor:
        """(states + 1, vocabulary): what may not follow; nothing in the last, which is state -1."""
        free = np.zeros((1, self.step.shape[1]), dtype=bool)
        return torch.from_numpy(np.concatenate([self.step < 0, free]))

    def of_nodes(self, tree: PrefixTree) -> np.ndarray:
        """(n + 1,) state of the root, then of each node of the tree."""
        states = np.full(len(tree) + 1, self.start)
        for node, parent in enumerate(tree.parent + 1):
            states[node + 1] = self.next(states[parent], tree.token[node])
        return states
