"""Ask for a list of answers, and take one of them at random."""

import re
from typing import TYPE_CHECKING

from diffuselm.config.base import Count
from diffuselm.methods.method import Prompting
from diffuselm.methods.replies import Read
from diffuselm.model.answers import braced_values

if TYPE_CHECKING:
    import numpy as np

    from diffuselm.tasks.prompts import Prompt

_MARKS = re.compile(r"(?:\s|\d+[.)]|[-*•,;&.]|and\b)*")  # what may stand between values of a list


class ListOfAnswers(Prompting):
    """A reply keeps the form where it lists values, one or more, and ends by itself."""

    length: Count = 10

    def ask(self, prompt: "Prompt", rng: "np.random.Generator") -> str:
        return (
            f"{prompt.text}\n\nGive a list of {self.length} different answers, each between two "
            "curly braces of its own."
        )

    def value_of(self, reply: str, ended: bool, rng: "np.random.Generator") -> Read:
        found, around = braced_values(reply)
        values = [value for value in map(str.strip, found) if value]
        if not values:
            return Read(None, False)
        listed = _MARKS.fullmatch(around) is not None
        return Read(values[rng.integers(len(values))], ended and listed)
