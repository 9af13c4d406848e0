"""A random string in the prompt, to make the model's answer depend on it."""

import string
from typing import TYPE_CHECKING

from diffuselm.config.base import Count
from diffuselm.methods.method import Prompting

if TYPE_CHECKING:
    import numpy as np

    from diffuselm.tasks.prompts import Prompt

_LETTERS = [*string.ascii_letters, *string.digits]


class SeedString(Prompting):
    """Letters and digits, drawn evenly for each call."""

    length: Count = 16

    def ask(self, prompt: "Prompt", rng: "np.random.Generator") -> str:
        return f"{prompt.text}\n\nRandom seed: {''.join(rng.choice(_LETTERS, self.length))}"
