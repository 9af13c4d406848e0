"""A table in Markdown as a page of the report: one HTML file without scripts, links or network."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from diffuselm.errors import InputError
from diffuselm.files.whole import written_whole
from diffuselm.paper.templating import filled

# What `table_files` writes into cells; any other markup in a cell is a model's, and is text.
_MARKUP = ("<br>", "<!-- -->")


def report_pages(*, tables: list[Path], out: Path) -> None:
    """Write `out`/NAME.html for each NAME.md of `tables`, from `table_files` and `scorecard`.

    Raises InputError for a table that cannot be read.
    """
    for path in map(Path, tables):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not readable ({error}); expected Markdown") from error
        with written_whole(Path(out) / f"{path.stem}.html") as part:
            part.write_text(html_page(text, path.stem), encoding="utf-8", newline="\n")


def html_page(markdown: str, title: str) -> str:
    """A whole HTML page; each table scrolls in a box of its own where it is too wide."""
    return filled("report_page.html.jinja", title=title, body=_reader().render(markdown))


def _reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    reader.disable(["html_block", "image"])
    reader.renderer.rules.update(
        html_inline=_markup,
        table_open=lambda *_: '<div class="wide">\n<table>\n',
        table_close=lambda *_: "</table>\n</div>\n",
        # A link leads to a file beside the table, which the report lacks; its text stays.
        link_open=lambda *_: "",
        link_close=lambda *_: "",
    )
    return reader


def _markup(tokens: Sequence[Token], index: int, *_: object) -> str:
    content = tokens[index].content
    return content if content in _MARKUP else escape(content)
