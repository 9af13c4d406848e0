"""A table as files: CSV of its tidy frame, Markdown and LaTeX arranged as in the paper."""

import csv
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pandas.io.formats.style import Styler

from diffuselm.files.whole import written_whole

DASH = "—"
# Its columns share the width of the page; it breaks its lines and its pages.
_LATEX = r"""% Needs \usepackage{{array,booktabs,longtable}}, and LuaLaTeX or XeLaTeX with a
% font for whatever script the texts are in.
{{\scriptsize\setlength{{\tabcolsep}}{{3pt}}
{table}}}
{notes}"""


@dataclass(frozen=True)
class Table:
    """A table as the paper sets it: a row of headings, or two where the columns have two levels.

    The first `stub` columns of `cells` say what a row is of. Each cell is text, a line of it where
    a line break stands. Where `better` is given (True for cells whose first line is bold), the
    cells are `number_text`s, else any text. `notes` stand below. What is no table of the paper's
    has a name in place of its number.
    """

    number: int | str
    title: str
    stub: int
    cells: pd.DataFrame
    notes: Sequence[str]
    better: pd.DataFrame | None = None


def write_table_files(
    out: Path, table: Table, data: pd.DataFrame, further: Sequence[Table] = ()
) -> None:
    """Write `out`/table-N.md and .tex of `table`, and .csv of the `data` behind it, each whole.

    Under `table` stand `further` ones, which are its sections.
    """
    # Answers may hold a bare carriage return, which only a quoted cell keeps.
    quoting = csv.QUOTE_NONNUMERIC if table.better is None else csv.QUOTE_MINIMAL
    files = {
        "csv": data.to_csv(index=False, lineterminator="\n", quoting=quoting),
        "md": "\n".join(map(markdown, (table, *further))),
        "tex": "\n".join(map(latex, (table, *further))),
    }
    for kind, text in files.items():
        with written_whole(Path(out) / f"table-{table.number}.{kind}") as part:
            part.write_text(text, encoding="utf-8", newline="\n")


def number_text(row: pd.Series) -> str:
    """Lines: value, interval and rates where there are any, and the paper's number.

    `row` is one of a frame with the columns `number_tables.FRAME`. A noted number gets a †.
    """
    form = f".{row['digits']}f"
    lines = [f"{row['value']:{form}}" if math.isfinite(row["value"]) else DASH]
    if math.isfinite(row["ci_low"]) and math.isfinite(row["ci_high"]):
        lines.append(f"[{row['ci_low']:{form}}, {row['ci_high']:{form}}]")
    rates = {"valid": row["valid"], "on target": row["on_target"]}
    if shown := [f"{rate:.0%} {what}" for what, rate in rates.items() if math.isfinite(rate)]:
        lines.append(", ".join(shown))
    if math.isfinite(row["published"]):
        lines.append(f"(paper {row['published']:{form}}{'†' if row['note'] else ''})")
    return "\n".join(lines)


def value_text(row: pd.Series, digits: int) -> str:
    """The value of a row, and below it its interval where it has one."""
    ends = row["ci_low"], row["ci_high"]
    if ends[0] < ends[1]:
        return "{}\n[{}, {}]".format(*(decimal(each, digits) for each in (row["value"], *ends)))
    return decimal(row["value"], digits)


def decimal(value: float, digits: int) -> str:
    """A number with so many decimals, also where it is infinite or none."""
    if math.isnan(value):
        return DASH
    return "∞" if math.isinf(value) else f"{value:,.{digits}f}"


def markdown(table: Table) -> str:
    """The table in GitHub's Markdown, its notes as a list below."""
    levels = [[head] if isinstance(head, str) else head for head in table.cells.columns]
    heads = [escape_markdown(": ".join(filter(None, head))) for head in levels]
    rows = table.cells.map(lambda text: "<br>".join(map(escape_markdown, text.split("\n"))))
    if table.better is not None:
        numbers = table.cells.columns[table.stub :]
        plain, better = table.cells[numbers], table.better[numbers]
        bold = plain.replace(r"^[^\n]+", r"**\g<0>**", regex=True)
        rows[numbers] = plain.mask(better, bold).replace("\n", " ", regex=True)
    number = str(table.number).replace("-", " ")
    above = f"**Table {number}.** {escape_markdown(table.title)}"
    below = "\n".join(f"- {escape_markdown(note)}" for note in table.notes)
    parts = (above, markdown_rows(heads, rows.to_numpy().tolist()), below)
    return "\n\n".join(filter(None, parts)) + "\n"


def markdown_rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of cells that are escaped."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows))


def latex(table: Table) -> str:
    """A longtable, whose lines and pages break."""
    # Of the line; the gaps around a column are part of its share.
    share, columns = 0.12, table.cells.shape[1] - table.stub
    shares = [share] * table.stub + [(1 - share * table.stub) / max(columns, 1)] * columns
    widths = [rf"\dimexpr{share:.3f}\linewidth-2\tabcolsep\relax" for share in shares]
    rows = _styled(table.cells)
    if table.better is not None:
        rows.apply(lambda _: table.better.map({True: "bfseries:;", False: ""}.get), axis=None)
    notes = _styled(pd.DataFrame({"note": list(table.notes)})).hide(axis="columns")
    return _LATEX.format(
        table=rows.to_latex(
            environment="longtable",
            hrules=True,
            multicol_align="c",
            caption=table.title,
            label=f"tab:table-{table.number}",
            column_format="".join(rf">{{\raggedright\arraybackslash}}p{{{w}}}" for w in widths),
        ),
        notes=notes.to_latex(column_format=r">{\footnotesize}p{\linewidth}") if table.notes else "",
    )


def escape_markdown(text: str) -> str:
    """Escape `text` for one table cell: nothing in it formats, links, or ends the cell."""
    special = r"([\\`*_{}\[\]<>#~|!$&]|:(?=//)|(?<=www)\.)"
    escaped = re.sub(special, r"\\\1", one_line(text), flags=re.IGNORECASE)
    # A backslash does not keep GitHub from linking an e-mail address; a comment in it does.
    return escaped.replace("@", "@<!-- -->")


def one_line(text: str) -> str:
    """Replace white space by single spaces; drop control, format and unassigned characters."""
    spaced = " ".join(text.split())
    return "".join(c for c in spaced if not unicodedata.category(c).startswith("C"))


def _styled(cells: pd.DataFrame) -> Styler:
    """`cells`, escaped for LaTeX; only the first line of one is bold where the cell is."""
    styler = cells.style.hide(axis="index").format(_latex_lines, escape="latex")
    return styler.format_index(one_line, axis=1, escape="latex")


def _latex_lines(escaped: str) -> str:
    # LaTeX ends no line in which nothing stands.
    lines = [one_line(line) or r"\mbox{}" for line in escaped.split("\n")]
    return r" \newline \mdseries ".join(lines)
