"""How a reply is read: its value, and whether it keeps to the form that was asked for."""

from typing import NamedTuple

from diffuselm.model.answers import first_value, is_valid


class Read(NamedTuple):
    """What a reply says."""

    value: str | None
    valid: bool


def read_value(reply: str, ended: bool) -> Read:
    """One value in braces, as the paper's prompts ask for it."""
    return Read(first_value(reply), is_valid(reply, ended))
