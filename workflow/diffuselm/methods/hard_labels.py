"""Hard labels (Calibration Fine-Tuning, arXiv 2605.11845): cross-entropy of drawn answers."""

from typing import TYPE_CHECKING

from diffuselm.methods.drawn import Drawn

if TYPE_CHECKING:
    import numpy as np

    from diffuselm.tree.prefix_tree import PrefixTree


class HardLabels(Drawn):
    """The mean loss of the drawn answers: over many draws, Eq. 5."""

    def node_weights(
        self, tree: "PrefixTree", rng: "np.random.Generator", rows: int
    ) -> "np.ndarray":
        return self.shares(tree, rng, rows)
