"""What the two commands print: answers with bars, and what they sum to. Answers are data."""

from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np
from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from diffuselm.one_prompt.scoring import DRAWS, Drawn, Scores

LIKELIEST = 10  # answers that are printed
OTHERS = 5  # answers that are not in the list
LONGEST = 40  # characters of an answer


def escaped(text: str) -> str:
    """`text` on one line, with an escape for whatever is not to be seen: controls, bidi marks."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def print_answers(texts: Sequence[str], columns: Mapping[str, np.ndarray]) -> None:
    """The likeliest answers by the first of the `columns`, with a bar for the last of them.

    A column has a probability for each answer, shape (answers,).
    """
    first, last = next(iter(columns.values())), list(columns.values())[-1]
    likeliest = np.argsort(-first, kind="stable")[:LIKELIEST]
    table = _table("answer", *columns)
    table.add_column(max_width=30)
    for number in likeliest:
        cells = [Text(f"{column[number]:.4g}") for column in columns.values()]
        bar = Bar(last[likeliest].max() or 1.0, 0, last[number])
        table.add_row(_cell(texts[number]), *cells, bar)
    left = len(texts) - len(likeliest)
    Console().print(table, Text(f"and {left} more\n" if left else ""))


def summary_rows(*scored: Scores) -> dict[str, list[float]]:
    """Each summary number of each of the scored, and what it would be at best."""
    best = scored[0].best
    return {name: [*(each.summary[name] for each in scored), best[name]] for name in best}


def print_summary(rows: Mapping[str, Sequence[float]], *heads: str) -> None:
    """A line for each number, under `heads`."""
    table = _table("", *heads)
    for name, numbers in rows.items():
        table.add_row(name, *(f"{number:.4f}" for number in numbers))
    Console().print(table)


def print_others(said: Drawn) -> None:
    """The likeliest of the drawn answers that are not in the list, and how often they came."""
    table = _table(f"of {DRAWS} drawn, {said.others.total()} others", "times")
    for text, times in islice(said.others.items(), OTHERS):
        table.add_row(_cell(text), str(times))
    Console().print(Text(), table)


def _cell(text: str) -> Text:
    """The beginning of a text, with nothing in it that a terminal or `rich` obeys."""
    plain = escaped(text)
    return Text(plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 1]}…")


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for head in others:
        table.add_column(head, justify="right", no_wrap=True)
    return table
