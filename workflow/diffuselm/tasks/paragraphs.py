"""Plain text, a paragraph a line."""

from pathlib import Path

from diffuselm.config.strict_files import read_text
from diffuselm.errors import InputError


def read_paragraphs(path: Path) -> list[str]:
    """The paragraphs of a plain text, one a line; raises InputError where there is none."""
    lines = map(str.strip, read_text(path, "plain text").splitlines())
    paragraphs = [line for line in lines if line]
    if not paragraphs:
        raise InputError(f"{path}: no text; expected a paragraph a line")
    return paragraphs
