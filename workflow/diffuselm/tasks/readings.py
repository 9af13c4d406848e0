"""How answers to a prompt from outside are read: which texts are the same answer."""

import re
from functools import cached_property

from diffuselm.config.base import Settings

# The Snakefile imports this module in every cluster job: nothing heavy here.

_ENDING = re.compile(r"[\s.,;:!?…。！？]+$")


def folded(text: str) -> str:
    """A text without what tells no answers apart: its case, and spaces and marks at its end."""
    return _ENDING.sub("", text.lstrip()).casefold()


class Reading(Settings):
    """Which answers a prompt from outside lists, and how each may be written."""

    whole: bool  # whether an answer without braces is taken whole
    spellings: dict[str, tuple[str, ...]]  # answer -> itself and its aliases; empty: none is listed

    def answer(self, found: str | None) -> str | None:
        """The listed answer that a text stands for, else the text itself, folded."""
        return found and (self._answers.get(folded(found)) or folded(found) or None)

    @cached_property
    def _answers(self) -> dict[str, str]:
        return {folded(text): answer for answer, its in self.spellings.items() for text in its}

    def written(self, answer: str) -> list[str]:
        """What a model may write for a listed answer: its spellings, as they are and in braces."""
        bare = self.spellings[answer] if self.whole else ()
        return [*bare, *(f"{{{text}}}" for text in self.spellings[answer])]
