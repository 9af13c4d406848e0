"""What in the text of a record may be more than text where somebody shows or opens it."""

import re
import unicodedata

from diffuselm.tasks.record_kinds import clean

_TAG = re.compile(r"</?[a-zA-Z!]")
_LINK = re.compile(r"https?://|www\.", re.IGNORECASE)
_FORMULA = ("=", "+", "-", "@")
_PIECES = re.compile(r"[{}\r\n]+")
# Line separators, control characters and those that change the direction of writing.
_UNSEEN = re.compile("[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def flags(text: str) -> str | None:
    """Marks of an answer, by spaces; None for none.

    `tag`: a tag of HTML. `link`: a web address. `formula`: a field that a spreadsheet computes.
    `unseen`: control and format characters, line separators among them.
    """
    pieces = _PIECES.split(text)
    found = {
        "tag": _TAG.search(text),
        "link": _LINK.search(text),
        "formula": any(clean(piece).startswith(_FORMULA) for piece in pieces),
        "unseen": any(map(_is_unseen, "".join(pieces))),
    }
    return " ".join(name for name, there in found.items() if there) or None


def one_json_line(line: str) -> str:
    """A line of JSON in which those characters are escaped that some readers end a line at."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") and character != "\t"
