"""Prompt search (APE, Zhou et al. 2022, arXiv 2211.01910): the wording that spreads answers most.

The bare model rewords the instruction; what stands from the first sentence with braces on, which
asks for the form, is kept. Each wording is scored by what one half of the targets (every second
one) exactly adds to the entropy of an answer; the best is asked. The original is among them.
"""

import re

from diffuselm.config.base import Count
from diffuselm.methods.method import Method

_SENTENCE = re.compile(r"(?<=[.!?])\s+")


class PromptSearch(Method):
    """How many rewordings are tried, beside the original."""

    rewordings: Count = 20

    def request(self, text: str) -> str:
        """What the bare model is asked for each rewording."""
        return (
            "Rewrite the following instruction in other words, in one sentence, so that the answer "
            f"is as random as possible. Output only the new instruction.\n\n{parts(text)[0]}"
        )

    def wordings(self, text: str, replies: list[str]) -> list[str]:
        """The original text, and each distinct rewording that can stand in it."""
        _, form = parts(text)
        said = [reply.strip().splitlines()[0].strip(" \"'") for reply in replies if reply.strip()]
        kept = [one for one in said if one and not {"{", "}"} & {*one}]
        return list(dict.fromkeys([text, *(f"{one} {form}" for one in kept)]))


def parts(text: str) -> tuple[str, str]:
    """The instruction, and the sentences from the first one with braces on."""
    sentences = _SENTENCE.split(text)
    first = next((at for at, each in enumerate(sentences) if "{" in each), len(sentences))
    return " ".join(sentences[:first]), " ".join(sentences[first:])
