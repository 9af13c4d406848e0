"""A tidy frame of numbers as files: CSV as it is, Markdown and LaTeX arranged as in the paper."""

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from diffuselm.contracts import written_whole

_DASH = "—"


@dataclass(frozen=True)
class Layout:
    """A table as the paper sets it: two rows of headings, then rows under `stub` columns.

    `groups` are (heading, columns under it). A row is its stub texts, then one cell for each
    column: a row of the tidy frame, or None for an empty cell.
    """

    stub: tuple[str, ...]
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    rows: tuple[tuple[tuple[str, ...], tuple[pd.Series | None, ...]], ...]


def write_table_files(
    frame: pd.DataFrame, out_stem: Path, *, number: int, title: str, notes: Sequence[str]
) -> None:
    """Write `frame` (columns `tables.FRAME`) as `out_stem`.csv, .md and .tex, each whole."""
    layout = arrange(frame, number)
    texts = {
        "csv": frame.to_csv(index=False, lineterminator="\n"),
        "md": markdown(layout, number, title, notes),
        "tex": latex(layout, number, title, notes),
    }
    for kind, text in texts.items():
        path = Path(out_stem)
        with written_whole(path.with_name(f"{path.name}.{kind}")) as part:
            part.write_text(text, encoding="utf-8", newline="\n")


def arrange(frame: pd.DataFrame, number: int) -> Layout:
    """Lay the numbers out: table 4 has a row for each task and model, 5 and 6 one for each task."""
    return _by_model(frame) if number == 4 else _by_task(frame)


def markdown(layout: Layout, number: int, title: str, notes: Sequence[str]) -> str:
    """The table in GitHub's Markdown: every cell `**value** [low, high] (paper value)`."""
    heads = [escape_markdown(text) for text in layout.stub]
    heads += [
        f"{escape_markdown(group)}: {escape_markdown(column)}"
        for group, columns in layout.groups
        for column in columns
    ]
    lines = [" | ".join(heads), " | ".join("---" for _ in heads)]
    for stub, cells in layout.rows:
        texts = [escape_markdown(text) for text in stub]
        lines.append(" | ".join([*texts, *(_markdown_cell(cell) for cell in cells)]))
    table = "\n".join(f"| {line} |" for line in lines)
    below = "\n".join(f"- {escape_markdown(note)}" for note in notes)
    return f"**Table {number}.** {escape_markdown(title)}\n\n{table}\n\n{below}\n"


def latex(layout: Layout, number: int, title: str, notes: Sequence[str]) -> str:
    """The table for a LaTeX document that loads booktabs and graphicx (it shrinks to the line)."""
    widths = [len(columns) for _, columns in layout.groups]
    heads = [
        rf"\multicolumn{{{len(columns)}}}{{c}}{{{escape_latex(group)}}}"
        for group, columns in layout.groups
    ]
    starts = [len(layout.stub) + 1 + sum(widths[:i]) for i in range(len(widths))]
    rules = [rf"\cmidrule(lr){{{a}-{a + w - 1}}}" for a, w in zip(starts, widths, strict=True)]
    columns = [escape_latex(column) for _, columns in layout.groups for column in columns]
    body = [
        " & ".join([*map(escape_latex, stub), *(_latex_cell(cell) for cell in cells)]) + r" \\"
        for stub, cells in layout.rows
    ]
    return "\n".join(
        [
            r"% Needs \usepackage{booktabs,graphicx}.",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape_latex(title)}}}",
            rf"\label{{tab:table-{number}}}",
            r"\resizebox{\ifdim\width>\linewidth \linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{'l' * len(layout.stub)}{'c' * sum(widths)}}}",
            r"\toprule",
            " & ".join([*("" for _ in layout.stub), *heads]) + r" \\",
            " ".join(rules),
            " & ".join([*map(escape_latex, layout.stub), *columns]) + r" \\",
            r"\midrule",
            "\n\\addlinespace\n".join(body),
            r"\bottomrule",
            r"\end{tabular}}",
            *(rf"\par\smallskip{{\footnotesize {escape_latex(note)}}}" for note in notes),
            r"\end{table}",
            "",
        ]
    )


def escape_markdown(text: str) -> str:
    """Escape `text` for one table cell: nothing in it formats, links, or ends the cell."""
    return re.sub(r"([\\`*_{}\[\]<>#~|!$&])", r"\\\1", one_line(text))


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
    _DASH: "---",
} | {character: f"\\{character}" for character in "{}$&#%_"}


def _by_model(frame: pd.DataFrame) -> Layout:
    """Table 4: the natural column belongs to no model, and stands in the task's first row."""
    groups = tuple((group, ("Baseline", "Tuned", "Natural")) for group in frame["group"].unique())
    rows = []
    for title, of_task in frame.groupby("row", sort=False):
        natural = of_task[of_task["model"] == "natural"]
        models = of_task[of_task["model"] != "natural"]
        for i, (_, of_model) in enumerate(models.groupby("model", sort=False)):
            shown = pd.concat([of_model, natural]) if i == 0 else of_model
            stub = (title if i == 0 else "", of_model["model_label"].iloc[0])
            rows.append((stub, _cells(shown, groups)))
    return Layout(stub=("Task", "Model"), groups=groups, rows=tuple(rows))


def _by_task(frame: pd.DataFrame) -> Layout:
    groups = tuple((label, ("Baseline", "Ours (OOD)")) for label in frame["group"].unique())
    rows = tuple(
        ((title,), _cells(of_task, groups)) for title, of_task in frame.groupby("row", sort=False)
    )
    return Layout(stub=("Task",), groups=groups, rows=rows)


def _cells(
    frame: pd.DataFrame, groups: Sequence[tuple[str, Sequence[str]]]
) -> tuple[pd.Series | None, ...]:
    found = {(cell["group"], cell["column"]): cell for _, cell in frame.iterrows()}
    return tuple(found.get((group, column)) for group, columns in groups for column in columns)


def _markdown_cell(cell: pd.Series | None) -> str:
    return _cell(cell, lambda value: f"**{value}**", " ".join)


def _latex_cell(cell: pd.Series | None) -> str:
    def stacked(parts: list[str]) -> str:
        small = [rf"\scriptsize {escape_latex(part)}" for part in parts[1:]]
        lines = r" \\ ".join([parts[0], *small])
        return rf"\shortstack{{{lines}}}" if small else lines

    return _cell(cell, lambda value: rf"\textbf{{{value}}}", stacked).replace(_DASH, "---")


def _cell(
    cell: pd.Series | None, bold: Callable[[str], str], joined: Callable[[list[str]], str]
) -> str:
    """The value (bold if the better), its interval where there is one, the paper's at hand."""
    if cell is None:
        return ""

    def digits(value: float) -> str:
        return f"{value:.{cell['digits']}f}"

    value = digits(cell["value"]) if math.isfinite(cell["value"]) else _DASH
    parts = [bold(value) if cell["better"] else value]
    if math.isfinite(cell["ci_low"]) and math.isfinite(cell["ci_high"]):
        parts.append(f"[{digits(cell['ci_low'])}, {digits(cell['ci_high'])}]")
    if math.isfinite(cell["published"]):
        mark = "†" if cell["note"] == "misprinted" else ""
        parts.append(f"(paper {digits(cell['published'])}{mark})")
    return joined(parts)
