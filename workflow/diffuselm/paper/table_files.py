"""A table as files: CSV of its tidy frame, Markdown and LaTeX arranged as in the paper."""

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from diffuselm.files.contracts import written_whole

DASH = "—"
# Headings over columns: (heading, columns under it).
Groups = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Cell:
    """One cell, escaped for either file; `number_cell` and `text_cell` make it."""

    markdown: str
    latex: str


@dataclass(frozen=True)
class Table:
    """A table as the paper sets it: two rows of headings, then rows under `stub` columns.

    A heading of `groups` is "" where its columns stand by themselves. A row is its stub texts, then
    one cell for each column. `notes` stand below.
    """

    number: int
    title: str
    stub: tuple[str, ...]
    groups: Groups
    rows: tuple[tuple[tuple[str, ...], tuple[Cell, ...]], ...]
    notes: tuple[str, ...]


def write_table_files(out_stem: Path, *, csv: str, markdown: str, latex: str) -> None:
    """Write the texts as `out_stem`.csv, .md and .tex, each whole."""
    for kind, text in (("csv", csv), ("md", markdown), ("tex", latex)):
        path = Path(out_stem)
        with written_whole(path.with_name(f"{path.name}.{kind}")) as part:
            part.write_text(text, encoding="utf-8", newline="\n")


def markdown(table: Table) -> str:
    """The table in GitHub's Markdown, its notes as a list below."""
    heads = [escape_markdown(text) for text in table.stub]
    heads += [
        ": ".join(escape_markdown(text) for text in (group, column) if text)
        for group, columns in table.groups
        for column in columns
    ]
    lines = [" | ".join(heads), " | ".join("---" for _ in heads)]
    for stub, cells in table.rows:
        texts = [escape_markdown(text) for text in stub]
        lines.append(" | ".join([*texts, *(cell.markdown for cell in cells)]))
    above = f"**Table {table.number}.** {escape_markdown(table.title)}"
    below = "\n".join(f"- {escape_markdown(note)}" for note in table.notes)
    parts = [above, "\n".join(f"| {line} |" for line in lines), below]
    return "\n\n".join(part for part in parts if part) + "\n"


def latex(table: Table) -> str:
    """A floating table, for numbers; needs booktabs and graphicx (it shrinks to the line)."""
    count = sum(len(columns) for _, columns in table.groups)
    return "\n".join(
        [
            r"% Needs \usepackage{booktabs,graphicx}.",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape_latex(table.title)}}}",
            rf"\label{{tab:table-{table.number}}}",
            r"\resizebox{\ifdim\width>\linewidth \linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{'l' * len(table.stub)}{'c' * count}}}",
            r"\toprule",
            *_latex_heads(table),
            r"\midrule",
            _latex_body(table),
            r"\bottomrule",
            r"\end{tabular}}",
            *_latex_notes(table),
            r"\end{table}",
            "",
        ]
    )


def latex_long(table: Table) -> str:
    """A table that breaks its lines and its pages, for text; needs array, booktabs, longtable."""
    count = sum(len(columns) for _, columns in table.groups)
    # Of the line; the gaps around a column are part of its share.
    stub = 0.12
    shares = [stub] * len(table.stub) + [(1 - stub * len(table.stub)) / count] * count
    widths = [rf"\dimexpr{share:.3f}\linewidth-2\tabcolsep\relax" for share in shares]
    columns = [rf">{{\raggedright\arraybackslash}}p{{{width}}}" for width in widths]
    heads = [r"\toprule", *_latex_heads(table), r"\midrule"]
    return "\n".join(
        [
            r"% Needs \usepackage{array,booktabs,longtable}, and LuaLaTeX or XeLaTeX with a font",
            "% for whatever script the texts are in.",
            r"{\scriptsize\setlength{\tabcolsep}{3pt}",
            rf"\begin{{longtable}}{{{''.join(columns)}}}",
            rf"\caption{{{escape_latex(table.title)}}}",
            rf"\label{{tab:table-{table.number}}} \\",
            *heads,
            r"\endfirsthead",
            *heads,
            r"\endhead",
            r"\bottomrule",
            r"\endlastfoot",
            _latex_body(table),
            r"\end{longtable}}",
            *_latex_notes(table),
            "",
        ]
    )


def number_cell(row: pd.Series) -> Cell:
    """Its value (bold if the better), interval and rates where there are any, the paper's at hand.

    `row` is one of a frame with the columns `tables.FRAME`. A noted number of the paper gets a †.
    """

    def digits(value: float) -> str:
        return f"{value:.{row['digits']}f}"

    value = digits(row["value"]) if math.isfinite(row["value"]) else DASH
    more = []
    if math.isfinite(row["ci_low"]) and math.isfinite(row["ci_high"]):
        more.append(f"[{digits(row['ci_low'])}, {digits(row['ci_high'])}]")
    rates = {"valid": row["valid"], "on target": row["on_target"]}
    if shown := [f"{rate:.0%} {what}" for what, rate in rates.items() if math.isfinite(rate)]:
        more.append(", ".join(shown))
    if math.isfinite(row["published"]):
        more.append(f"(paper {digits(row['published'])}{'†' if row['note'] else ''})")
    bold = rf"\textbf{{{value}}}" if row["better"] else escape_latex(value)
    stacked = r" \\ ".join([bold, *(rf"\scriptsize {escape_latex(part)}" for part in more)])
    return Cell(
        markdown=" ".join([f"**{value}**" if row["better"] else value, *more]),
        latex=rf"\shortstack{{{stacked}}}" if more else stacked,
    )


def number_cells(frame: pd.DataFrame, groups: Groups) -> tuple[Cell, ...]:
    """One row of cells: that of `frame` for each group and column, empty where it has none."""
    found = {(row["group"], row["column"]): number_cell(row) for _, row in frame.iterrows()}
    places = [(group, column) for group, columns in groups for column in columns]
    return tuple(found.get(place, Cell("", "")) for place in places)


def text_cell(lines: Sequence[str]) -> Cell:
    """Text of any kind, each of `lines` on a line of its own; for `markdown` and `latex_long`."""
    # LaTeX ends no line in which nothing stands.
    latex_lines = [escape_latex(line) or r"\mbox{}" for line in lines]
    return Cell(
        markdown="<br>".join(escape_markdown(line) for line in lines),
        latex=r" \newline ".join(latex_lines),
    )


def escape_markdown(text: str) -> str:
    """Escape `text` for one table cell: nothing in it formats, links, or ends the cell."""
    special = r"([\\`*_{}\[\]<>#~|!$&]|:(?=//)|(?<=www)\.)"
    escaped = re.sub(special, r"\\\1", one_line(text), flags=re.IGNORECASE)
    # A backslash does not keep GitHub from linking an e-mail address; a comment in it does.
    return escaped.replace("@", "@<!-- -->")


def escape_latex(text: str) -> str:
    r"""Escape `text` for one cell; `[` and `*` too, which `\\` would take for its own argument."""
    return "".join(_LATEX.get(character, character) for character in one_line(text))


def one_line(text: str) -> str:
    """Replace white space by single spaces; drop control, format and unassigned characters."""
    spaced = " ".join(text.split())
    return "".join(c for c in spaced if not unicodedata.category(c).startswith("C"))


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "“": "``",
    "”": "''",
    "†": r"\dag{}",
    DASH: "---",
} | {character: f"\\{character}" for character in "{}$&#%_"}


def _latex_heads(table: Table) -> list[str]:
    """The row of group headings, with a rule under each, if any; then that of the columns."""
    lines = []
    if any(group for group, _ in table.groups):
        widths = [len(columns) for _, columns in table.groups]
        heads = [
            rf"\multicolumn{{{len(columns)}}}{{c}}{{{escape_latex(group)}}}"
            for group, columns in table.groups
        ]
        starts = [len(table.stub) + 1 + sum(widths[:i]) for i in range(len(widths))]
        rules = [rf"\cmidrule(lr){{{a}-{a + w - 1}}}" for a, w in zip(starts, widths, strict=True)]
        lines = [" & ".join([*("" for _ in table.stub), *heads]) + r" \\", " ".join(rules)]
    columns = [column for _, columns in table.groups for column in columns]
    return [*lines, " & ".join(map(escape_latex, (*table.stub, *columns))) + r" \\"]


def _latex_body(table: Table) -> str:
    rows = [
        " & ".join([*map(escape_latex, stub), *(cell.latex for cell in cells)]) + r" \\"
        for stub, cells in table.rows
    ]
    return "\n\\addlinespace\n".join(rows)


def _latex_notes(table: Table) -> list[str]:
    return [rf"\par\smallskip{{\footnotesize {escape_latex(note)}}}" for note in table.notes]
