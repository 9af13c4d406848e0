"""String Seed of Thought (Misaki and Akiba 2025, arXiv 2510.21150): randomness written first."""

from typing import TYPE_CHECKING

from diffuselm.methods.method import Prompting
from diffuselm.methods.replies import Read
from diffuselm.model.answers import braced_values

if TYPE_CHECKING:
    import numpy as np

    from diffuselm.tasks.prompts import Prompt


class StringSeed(Prompting):
    """The model writes a random string of its own, then derives its answer from it.

    A reply keeps the form where one value in braces ends it.
    """

    def ask(self, prompt: "Prompt", rng: "np.random.Generator") -> str:
        return (
            f"{prompt.text}\n\nFirst write a random string of letters and digits. Then use the "
            "string to choose your answer at random, and write the answer at the end."
        )

    def value_of(self, reply: str, ended: bool, rng: "np.random.Generator") -> Read:
        values = [value.strip() for value in braced_values(reply)[0]]
        if not values or not values[-1]:
            return Read(None, False)
        return Read(values[-1], ended and len(values) == 1 and reply.rstrip().endswith("}"))
