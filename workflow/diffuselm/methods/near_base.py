"""Ours, held near the base model: a KL term on text that no metric reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diffuselm.config.base import Positive
from diffuselm.methods.training import Training

if TYPE_CHECKING:
    import numpy as np
    from peft import PeftModel


class NearBase(Training):
    """Eq. 5 + `strength` x KL(base || tuned) per token, on one paragraph of `text` at each step.

    The text is not the held-out one, whose loss is what tells how much was kept; and plain text
    rather than answers, so that what is held is the model's language, not the spread of its
    answers to questions.
    """

    strength: Positive = 1.0
    text: Path = Path("resources/text/near-base.txt")

    @property
    def reads(self) -> Path:
        return self.text

    def add_gradient(
        self, model: "PeftModel", texts: Sequence[Sequence[int]], rng: "np.random.Generator"
    ) -> int:
        import torch

        row = torch.as_tensor([texts[rng.integers(len(texts))]], device=model.device)
        tuned = model(input_ids=row, use_cache=False).logits.float().log_softmax(dim=-1)
        with torch.no_grad(), model.disable_adapter():
            base = model(input_ids=row, use_cache=False).logits.float().log_softmax(dim=-1)
        kl = (base.exp() * (base - tuned)).sum(dim=-1).mean()
        (self.strength * kl).backward()
        return 2 * row.shape[1]
