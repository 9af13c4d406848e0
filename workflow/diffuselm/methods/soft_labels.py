"""Soft labels (Calibration Fine-Tuning, arXiv 2605.11845): exact targets along drawn paths."""

from typing import TYPE_CHECKING

import numpy as np

from diffuselm.methods.drawn import Drawn

if TYPE_CHECKING:
    from diffuselm.tree.prefix_tree import PrefixTree


class SoftLabels(Drawn):
    """At each prefix of a drawn answer, cross-entropy with the exact distribution after it.

    Summed along the path, where its authors average, so that over many draws it is Eq. 5.
    """

    def node_weights(self, tree: "PrefixTree", rng: np.random.Generator, rows: int) -> np.ndarray:
        # With those of the root as the last entry, to which parent -1 leads.
        through, mass = np.append(self.shares(tree, rng, rows), 1.0), np.append(tree.mass, 1.0)
        return through[tree.parent] * tree.mass / mass[tree.parent]
