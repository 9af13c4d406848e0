"""How far a job is, on standard error: a bar in a terminal, a line now and then in a log."""

import sys
from typing import Any

from tqdm import tqdm

SECONDS = 10  # between two lines of a log
LINE = (
    "{percentage:3.0f}% {n_fmt} of {total_fmt} {unit}, {elapsed} passed, {remaining} left{postfix}"
)


def progress(
    items: Any = None,
    *,
    unit: str,
    total: int | None = None,
    initial: int = 0,
    every: float = SECONDS,
) -> tqdm:
    """A tqdm over `items`, or to `update`; time left is "?" before the first of them is done."""
    told = {"iterable": items, "unit": unit, "total": total, "initial": initial}
    if sys.stderr.isatty():
        return tqdm(**told)
    return tqdm(
        **told, file=_Lines(), bar_format=LINE, mininterval=every, maxinterval=every, miniters=1
    )


class _Lines:
    """Standard error, with a line for each state where tqdm would go back to the line's start."""

    def write(self, text: str) -> None:
        if line := text.strip():
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        sys.stderr.flush()
