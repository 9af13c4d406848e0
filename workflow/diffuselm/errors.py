"""What the command line ends on with one line and a non-zero exit code."""

import re
import reprlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 100  # characters of a value in the one line
_SHORT.maxlist = _SHORT.maxdict = _SHORT.maxlevel = 2  # a list of YAML can hold itself
_SHORT.fillvalue = "…"
_PLAIN = {
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "path_type": "a path",
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
}


class InputError(ValueError):
    """Bad input, named in one line: the file or key, what was found, and what was expected."""


class NonFiniteLossError(RuntimeError):
    """The loss became infinite or not a number."""


def one_line(error: "ValidationError", keys: str = "", secret: str | None = None) -> str:
    """The first problem that pydantic found: the key, what was found and what was expected.

    `keys` names the known keys, where others are refused. Under the key `secret`, no value is
    shown. A misspelt key comes first, for it is often why another one is missing.
    """
    problems = error.errors(include_url=False)
    first = min(problems, key=lambda each: each["type"] != "extra_forbidden")
    # In brackets stand pydantic's own marks: `[key]`, and the branches of a union.
    where = [str(part) for part in first["loc"] if not str(part).startswith("[")]
    if first["type"] == "value_error":
        message = first["msg"].removeprefix("Value error, ")
    elif first["type"] == "extra_forbidden":
        message = f"unknown key; expected {keys}"
    elif first["type"] == "missing":
        message = "missing; expected it"
    elif first["type"] == "json_invalid":
        message = f"not JSON ({first['ctx']['error']}); expected a whole object"
    else:
        found = "" if secret in where else f"found {quoted(first['input'])}; "
        plain = _PLAIN.get(first["type"])
        expected = plain or re.sub(
            r"^\w+ should (be|have|match) | after validation, not \d+$", "", first["msg"]
        )
        message = f"{found}expected {' '.join(expected.split())}"
    # Of a union, pydantic lists each branch.
    others = {each["loc"][: len(first["loc"])] for each in problems} - {first["loc"]}
    more = f" (and {len(others)} more)" if others else ""
    return f"{'.'.join(where)}{': ' if where else ''}{message}{more}"


def quoted(value: object) -> str:
    """Quote a value in an error's one line: the whole of it where it is short."""
    return _SHORT.repr(value)


def first_line(error: BaseException) -> str:
    """The first line of what another library's error says, with what its colon announces."""
    if isinstance(error, KeyError):
        return f"no {error}"
    first, *others = (str(error).strip() or type(error).__name__).splitlines()
    return f"{first} {others[0].strip()}" if first.endswith(":") and others else first
