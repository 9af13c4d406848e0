"""Verbalized sampling (Zhang et al. 2025, arXiv 2510.01171): answers with stated probabilities."""

import re
from typing import TYPE_CHECKING

from diffuselm.config.base import Count
from diffuselm.methods.method import Prompting
from diffuselm.methods.replies import Read
from diffuselm.model.answers import first_value

if TYPE_CHECKING:
    import numpy as np

    from diffuselm.tasks.prompts import Prompt

_PAIR = re.compile(r"\{([^{}]*)\}[\s:=,(|-]{0,4}(\d{0,3}(?:\.\d{1,6})?)(%?)")


class Verbalized(Prompting):
    """One of the answers in a reply is drawn, as the reply says or evenly.

    A reply is malformed, and not valid, unless it states as many answers as were asked for, each
    with a probability, not all 0, and ends by itself. The first value of a malformed one counts.
    """

    answers: Count = 5
    as_stated: bool = True
    """Whether to draw as the probabilities say; else they are asked for and ignored."""

    def ask(self, prompt: "Prompt", rng: "np.random.Generator") -> str:
        return (
            f"{prompt.text}\n\nGive {self.answers} different answers, each between two curly "
            "braces of its own and followed by its probability, like this: {answer} 0.2"
        )

    def value_of(self, reply: str, ended: bool, rng: "np.random.Generator") -> Read:
        pairs = [(value.strip(), _share(*stated)) for value, *stated in _PAIR.findall(reply)]
        total = sum(share or 0 for _, share in pairs)
        stated = all(value and share is not None for value, share in pairs)
        if not (ended and len(pairs) == self.answers and stated and total > 0):
            return Read(first_value(reply), False)
        values, shares = zip(*pairs, strict=True)
        weights = [share / total for share in shares] if self.as_stated else None
        return Read(str(rng.choice(values, p=weights)), True)


def _share(number: str, percent: str) -> float | None:
    if not any(map(str.isdigit, number)):
        return None
    return float(number) / 100 if percent else float(number)
