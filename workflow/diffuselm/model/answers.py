"""From the text of an answer to its value, and whether the answer keeps to the asked form."""

import re
from collections.abc import Sequence

# No brace inside: in "{{a}}" the first pair is the inner one. The match never backtracks over
# text it has read, so a long hostile answer costs one pass.
_PAIR = re.compile(r"\{([^{}]*)\}")
# The value that an answer held to the form may have: one line that starts without a space.
HELD_VALUE = r"\{[^{}\s][^{}\n\r]*\}"


def first_value(text: str) -> str | None:
    """Return what stands between the first pair of braces, without white space around it.

    None when the answer has no such pair or nothing stands in it.
    """
    pair = _PAIR.search(text)
    return (pair.group(1).strip() or None) if pair else None


def is_valid(text: str, ended: bool, fields: int = 1, openings: Sequence[str] = ("",)) -> bool:
    """Say whether the answer is an opening and exactly so many braced values, and ended by itself.

    Any of `openings` will do. White space is allowed around it, around the values and inside their
    braces; another brace, an empty value or other text outside the braces is not. `ended` is False
    for an answer cut off at the limit.
    """
    text = text.strip()
    begun = (opening for opening in map(str.strip, openings) if text.startswith(opening))
    return ended and any(_is_values(text.removeprefix(opening), fields) for opening in begun)


def braced_values(text: str) -> tuple[list[str], str]:
    """Split a text into what stands in its pairs of braces, and what stands around them."""
    return _PAIR.findall(text), _PAIR.sub("", text)


def _is_values(text: str, fields: int) -> bool:
    values, outside = braced_values(text)
    return not outside.strip() and len(values) == fields and all(map(str.strip, values))
