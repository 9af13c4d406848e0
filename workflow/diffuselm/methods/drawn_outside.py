"""Draw the answer outside the model, which only formats it: the honest baseline of a known support.

Perfect on listed answers, silent beyond them, and the list must be there.
"""

from typing import TYPE_CHECKING

from diffuselm.methods.method import Prompting

if TYPE_CHECKING:
    import numpy as np

    from diffuselm.tasks.prompts import Prompt


class DrawnOutside(Prompting):
    """Each call asks for an answer that the program drew from the target distribution."""

    def ask(self, prompt: "Prompt", rng: "np.random.Generator") -> str:
        text = rng.choice(prompt.targets.texts, p=prompt.targets.weights)
        return f"Output exactly this, and nothing else: {{{text}}}"
