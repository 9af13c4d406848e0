"""What a target may be: one line without braces; and a set of them with their weights."""

import math
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from diffuselm.errors import InputError, quoted

# The Snakefile imports this module in every cluster job: nothing heavy here.

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# Characters that embed text of the other direction, override it, or isolate it.
_TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@dataclass(frozen=True)
class TargetSet:
    """Target strings, and the probability of each; the probabilities sum to 1."""

    texts: tuple[str, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, texts: Sequence[str], weights: Sequence[float] | None = None) -> Self:
        """Scale `weights` to sum to 1; without any, give each text the same one.

        Raises InputError for no texts, for texts that are alike but for a last line break, and for
        weights that are not a finite positive number for each text.
        """
        weights = [1] * len(texts) if weights is None else weights
        if not texts:
            raise InputError("no targets; expected at least one")
        if len(texts) != len(weights):
            raise InputError(f"{len(texts)} targets, {len(weights)} weights; expected one each")
        bare, times = Counter(text.removesuffix("\n") for text in texts).most_common(1)[0]
        if times > 1:
            raise InputError(f"{quoted(bare)} appears twice; expected distinct targets")
        _check_weights(texts, weights)
        # By the largest first: the sum of huge weights can be beyond a float.
        largest = max(weights)
        scaled = [weight / largest for weight in weights]
        total = math.fsum(scaled)
        shares = [weight / total for weight in scaled]
        _check_weights(texts, shares)  # beside a huge weight, a small one can vanish
        return cls(tuple(texts), tuple(shares))


# Each of these returns the text that it checks and raises InputError for any other.


def slug(text: str) -> str:
    """A part of a prompt's id."""
    if not SLUG.fullmatch(text):
        raise InputError(
            f"{quoted(text)}; expected lower-case letters and digits joined by hyphens"
        )
    return text


def value(text: object) -> str:
    """What can stand between braces. As none is inside, no answer begins with another one."""
    if not isinstance(text, str) or text != text.strip() or text.splitlines() != [text]:
        raise InputError(f"{quoted(text)}; expected one line of text without spaces around it")
    if "{" in text or "}" in text:
        raise InputError(f"{quoted(text)} holds a brace; expected none: the answer puts them")
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise InputError(f"{quoted(text)} holds a control character; expected none")
    return text


def unclear(texts: Sequence[str]) -> Iterator[str]:
    """A phrase for each target of which a reader cannot see what it is."""
    spellings = Counter(unicodedata.normalize("NFC", text) for text in texts)
    for text, times in spellings.items():
        if times > 1:
            yield f"{quoted(text)} stands there in two spellings that look alike"
    for text in texts:
        if any(unicodedata.bidirectional(character) in _TURNS for character in text):
            yield f"{quoted(text)} holds a character that changes the direction"


def braced_value(text: str) -> str:
    """A value in its braces; returned without them."""
    if not (text.startswith("{") and text.endswith("}")):
        raise InputError(f"{quoted(text)}; expected one value between braces")
    return value(text[1:-1])


def _check_weights(texts: Sequence[str], weights: Sequence[float]) -> None:
    for text, weight in zip(texts, weights, strict=True):
        # An int beyond the largest float is as little use as infinity; a bool is an int.
        number = isinstance(weight, int | float) and weight is not True
        if not number or not 0 < weight <= sys.float_info.max:
            raise InputError(
                f"{quoted(text)} weighs {quoted(weight)}; expected a finite positive number"
            )


def target_set(found: object) -> TargetSet:
    """Of a list of values, or of a mapping of values to weights."""
    if not isinstance(found, list | dict):
        raise InputError(f"{quoted(found)}; expected a list, or a mapping to weights")
    for each in found:
        if isinstance(each, bool) or not isinstance(each, str | int):
            raise InputError(
                f"{quoted(each)}; expected text or a whole number (quote anything else)"
            )
    weights = list(found.values()) if isinstance(found, dict) else None
    return TargetSet.of([value(str(each)) for each in found], weights)
