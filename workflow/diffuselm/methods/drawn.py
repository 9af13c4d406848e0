"""What trainings on drawn answers share: the draws, and what they cost."""

from typing import TYPE_CHECKING

import numpy as np

from diffuselm.methods.training import Training

if TYPE_CHECKING:
    from diffuselm.tree.prefix_tree import PrefixTree


class Drawn(Training):
    """Answers drawn from the target distribution at each step, as many as cost our tokens.

    Whoever has no tree reads each as a row, with the prompt before it. Here the tree is read, and
    its nodes are weighted so that loss and gradient are those of the rows.
    """

    def shares(self, tree: "PrefixTree", rng: np.random.Generator, rows: int) -> np.ndarray:
        """(n,) share of `rows` drawn answers that goes through each node; its mean is the mass."""
        weights = tree.mass[tree.leaf]
        through = np.zeros(len(tree))
        through[tree.leaf] = rng.multinomial(rows, weights / weights.sum()) / rows
        for node in range(len(tree) - 1, -1, -1):
            if tree.parent[node] >= 0:
                through[tree.parent[node]] += through[node]
        return through

    def tokens_read(
        self, packed: int, prompt: int, tree: "PrefixTree", weighted: np.ndarray, rows: int
    ) -> int:
        # A row reads, after the prompt, the inner nodes of its path. The weights of the nodes after
        # an inner node sum to the share of rows that read it.
        return round(rows * (prompt + weighted[tree.parent >= 0].sum()))
