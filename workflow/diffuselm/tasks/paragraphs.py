"""Plain text, a paragraph a line."""

from pathlib import Path

from diffuselm.errors import InputError


def read_paragraphs(path: Path) -> list[str]:
    """The paragraphs of a plain text, one a line; raises InputError where there is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: not readable as UTF-8 text ({error}); expected plain text"
        ) from error
    paragraphs = [line.strip() for line in lines if line.strip()]
    if not paragraphs:
        raise InputError(f"{path}: no text; expected a paragraph a line")
    return paragraphs
