"""Texts for readers, from the Jinja templates in `paper/templates`."""

from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template

TEMPLATES = Path(__file__).with_name("templates")


def filled(name: str, **facts: Any) -> str:
    """The template `name` with `facts` in it."""
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    return Template(text, undefined=StrictUndefined, keep_trailing_newline=True).render(facts)
