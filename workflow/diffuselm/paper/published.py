"""The numbers that the paper printed, transcribed in `resources/paper/published.csv`."""

import csv
import math
import re
from pathlib import Path

import pandas as pd

from diffuselm.errors import InputError

COLUMNS = (
    "table",
    "task",
    "prompt",
    "field",
    "model",
    "tuning",
    "metric",
    "value",
    "note",
    "rank",
    "text",
)
PAPER_MODELS = ("gemma", "llama-2", "mistral")
_KEY = ["table", "task", "prompt", "field", "model", "tuning", "metric", "rank"]
_ALLOWED = {
    "table": {"1", "4", "5", "6", "7", "8"},
    "model": {*PAPER_MODELS, "natural"},
    "metric": {"count", "coverage", "entropy"},
    "note": {"", "misprinted", "swapped"},
}
_ID = re.compile(r"[a-z0-9]+([-_][a-z0-9]+)*")


def load_published(path: Path) -> pd.DataFrame:
    """Read the transcript: one row per printed number, columns `COLUMNS`, values as printed.

    `table` is an integer and `rank` one or null; `prompt` and `text` are null where empty; `note`
    is "", "misprinted" (to be compared with nothing) or "swapped" (see `unswapped`). Raises
    InputError, naming the line, for any other columns, an unknown table, model, metric or note,
    an id or number that is none, or a number given twice.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable CSV file ({error})") from error
    if not lines or tuple(lines[0]) != COLUMNS:
        raise InputError(f"{path}: columns are {lines[:1]}, expected {list(COLUMNS)}")
    rows = [_row(line, f"{path}: line {number}") for number, line in enumerate(lines[1:], start=2)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"table": "int64", "rank": "Int64"})
    repeated = frame.index[frame.duplicated(_KEY)]
    if len(repeated):
        line = repeated[0] + 2
        raise InputError(f"{path}: line {line} repeats {lines[line - 1]}, expected it once")
    return frame


def unswapped(published: pd.DataFrame) -> pd.DataFrame:
    """Give the coverage cells that tables 7 and 8 print under the other of ID and OOD their own."""
    other = {"all": "biographies", "biographies": "all"}
    swapped = published["note"] == "swapped"
    right = published["tuning"].where(~swapped, published["tuning"].map(other))
    return published.assign(tuning=right, note=published["note"].where(~swapped, ""))


def _row(line: list[str], where: str) -> dict:
    if len(line) != len(COLUMNS):
        raise InputError(f"{where} has {len(line)} cells, expected {len(COLUMNS)}")
    row: dict = dict(zip(COLUMNS, line, strict=True))
    for column, allowed in _ALLOWED.items():
        if row[column] not in allowed:
            raise InputError(f"{where}: {column} is {row[column]!r}, expected {sorted(allowed)}")
    for column in ("task", "field", "tuning"):
        if not _ID.fullmatch(row[column]):
            raise InputError(f"{where}: {column} is {row[column]!r}, expected an id")
    ranked = row["rank"] in {"1", "2", "3", "4", "5"} and bool(row["text"])
    bare = not row["rank"] and not row["text"]
    if not (ranked if row["table"] == "1" else bare):
        raise InputError(
            f"{where}: rank {row['rank']!r} and text {row['text']!r}, expected a rank of 1 to 5 "
            "and a text in table 1 and neither elsewhere"
        )
    return row | {
        "table": int(row["table"]),
        "prompt": row["prompt"] or None,
        "value": _number(row["value"], where),
        "rank": int(row["rank"]) if row["rank"] else None,
        "text": row["text"] or None,
    }


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"{where}: value is {text!r}, expected a finite number of 0 or more")
    return value
