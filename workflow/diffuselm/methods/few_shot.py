"""Show some answers of others first: targets, drawn anew for each call."""

from typing import TYPE_CHECKING

from diffuselm.config.base import Count
from diffuselm.methods.method import Prompting

if TYPE_CHECKING:
    import numpy as np

    from diffuselm.tasks.prompts import Prompt


class FewShot(Prompting):
    """The most that examples can do: they are drawn from the target distribution itself.

    They stand after the instruction, so that all calls share it.
    """

    examples: Count = 5

    def ask(self, prompt: "Prompt", rng: "np.random.Generator") -> str:
        targets = prompt.targets
        shown = min(self.examples, len(targets.texts))
        texts = rng.choice(targets.texts, shown, replace=False, p=targets.weights)
        answers = ", ".join(f"{{{text}}}" for text in texts)
        return f"{prompt.text}\n\nAnswers that others gave: {answers}."
