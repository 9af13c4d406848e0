"""Ours: the loss of the paper (Eq. 5) over the whole tree, exact, with settings that may differ."""

from typing import TYPE_CHECKING

import numpy as np

from diffuselm.config.base import Count
from diffuselm.files.seeds import derive
from diffuselm.methods.training import Training

if TYPE_CHECKING:
    from diffuselm.model.encoding import EncodedPrompt


class Ours(Training):
    """What every tuning that is no method is trained with."""

    targets: Count | None = None
    """Trained on so many of each target set, drawn by the seed; all of them are measured."""

    def listed(self, prompt: "EncodedPrompt", seed: int) -> "EncodedPrompt":
        there = len(prompt.targets)
        if self.targets is None or self.targets >= there:
            return prompt
        rng = np.random.default_rng(derive(seed, "listed", prompt.id))
        kept = np.sort(rng.permutation(there)[: self.targets])
        return prompt.with_targets(kept.tolist())
