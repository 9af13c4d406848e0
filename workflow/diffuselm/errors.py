"""What the command line ends on with one line and a non-zero exit code."""

import re
from collections.abc import Mapping
from typing import Any

_SHOWN = 100  # characters of a value in an error's one line
_PLAIN = {
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "tuple_type": "a list",
    "path_type": "a path",
}


class InputError(ValueError):
    """Bad input, named in one line: the file or key, what was found, and what was expected."""


class NonFiniteLossError(RuntimeError):
    """The loss became infinite or not a number."""


def expectation(error: Mapping[str, Any]) -> str:
    """What one of pydantic's errors (not one of our own) says that it expected."""
    plain = _PLAIN.get(error["type"])
    said = plain or re.sub(r"^\w+ should (be|have|match) ", "", error["msg"])
    return f"expected {' '.join(said.split())}"


def quoted(value: object) -> str:
    """Quote the start of a value in an error's one line."""
    whole = repr(value)
    return whole if len(whole) <= _SHOWN else f"{whole[:_SHOWN]}…"
