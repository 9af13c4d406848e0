"""A table in Markdown as a page of the report: one HTML file without scripts, links or network."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from diffuselm.errors import InputError
from diffuselm.files.contracts import written_whole

# What `table_files` writes into cells; any other markup in a cell is a model's, and is text.
_MARKUP = ("<br>", "<!-- -->")
_STYLE = """
body { margin: 1rem; font: 15px/1.45 system-ui, sans-serif; color: #1e293b; background: #fff; }
h1 { font-size: 1.3rem; }
p, li { max-width: 48rem; }
ul { padding-left: 1.2rem; color: #475569; font-size: 0.9em; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: 0.9em; }
th, td { padding: 0.35rem 0.6rem; border-bottom: 1px solid #cbd5e1; min-width: 6.5rem; }
th, td { text-align: left; vertical-align: top; overflow-wrap: anywhere; }
th { border-bottom: 2px solid #64748b; background: #f1f5f9; }
"""
# The policy forbids what the escaping already keeps out: scripts, and anything from elsewhere.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}</body>
</html>
"""


def render_pages(tables: Sequence[Path], out: Path) -> None:
    """Write `out`/NAME.html for each table NAME.md, as `table_files` and `scorecard` write them.

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
    body = _reader().render(markdown)
    return _PAGE.format(title=escape(title), style=_STYLE, body=body)


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
