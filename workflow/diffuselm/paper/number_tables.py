"""What tables of numbers (4 to 8) share: their tidy frame, beside the paper's, and its layout."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from diffuselm.paper.comparison import ABSENT, Key, ModelRecord, Numbers
from diffuselm.paper.table_files import Table, number_text

# One row of a tidy frame is one number of the table. `group` and `column` are its two headings;
# `digits` is how many decimals the paper prints; `better` marks the larger of baseline and tuned;
# `valid` and `on_target` are the shares of the answers that kept the form, and that are targets.
FRAME = {
    "table": "int64",
    **dict.fromkeys(("row", "model", "model_label"), "str"),
    "stand_in": "bool",
    **dict.fromkeys(("group", "column", "task", "prompt", "tuning", "metric"), "str"),
    **dict.fromkeys(("value", "ci_low", "ci_high"), "float64"),
    **dict.fromkeys(("n", "seeds"), "Int64"),
    "published": "float64",
    "note": "str",
    **dict.fromkeys(("valid", "on_target"), "float64"),
    "better": "bool",
    "digits": "int64",
}
PAPER_N = 1000
RAW = "Base as it is"
PAPER_NOTE = "“paper”: what the paper printed for its model (or the one stood in for)."


class Place(NamedTuple):
    """Where a number stands in its table, the key of the number, and its decimals."""

    row: str
    model: ModelRecord
    group: str
    column: str
    key: Key
    digits: int


def tidy_frame(
    table: int, places: Iterable[Place], numbers: Numbers, published: pd.DataFrame
) -> pd.DataFrame:
    """One row (columns `FRAME`) for each place: its number, null where not run, and the paper's.

    Where a model is compared under another tuning than the paper's, that one's number is taken. Of
    answers of a base model that does not keep the form, only the rates are, and no number of the
    paper's: as raw texts they say nothing.
    """
    paper = _printed(published[published["table"] == table])
    rows = []
    for row, model, group, column, asked, digits in places:
        raw = column == RAW
        tuning = asked.tuning if raw else model.measured_tuning(asked.tuning, asked.task)
        key = asked._replace(tuning=tuning)
        number = ABSENT if raw else numbers.get(key, ABSENT)
        rates = (
            numbers.get(key._replace(metric=rate), ABSENT).value
            for rate in ("valid_rate", "target_rate")
        )
        owner = "natural" if key.model == "natural" else model.paper_model
        printed = (None, "") if raw else paper.get(asked._replace(model=owner), (None, ""))
        headings = (table, row, model.model, model.label, model.stand_in, group, column)
        about = (key.task, key.prompt, key.tuning, key.metric)
        rows.append((*headings, *about, *number, *printed, *rates, False, digits))
    return pd.DataFrame(rows, columns=list(FRAME)).astype(FRAME)


def _printed(published: pd.DataFrame) -> dict[Key, tuple[float, str]]:
    columns = published[list(Key._fields)].astype(object)
    keys = columns.where(columns.notna(), None).itertuples(index=False, name=None)
    return dict(
        zip(
            map(Key._make, keys),
            zip(published["value"], published["note"], strict=True),
            strict=True,
        )
    )


def number_table(
    number: int,
    title: str,
    *,
    stub: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    rows: Iterable[tuple[Sequence[str], pd.DataFrame]],
    notes: Iterable[str],
) -> Table:
    """Lay rows of `FRAME` out under `groups` of columns; a cell is empty where there is none.

    Each of `rows` is its texts under `stub`, and the rows of the frame that stand in it.
    """
    places = [(group, column) for group, columns in groups.items() for column in columns]
    cells, better = [], []
    for texts, of_row in rows:
        found = {(row["group"], row["column"]): row for _, row in of_row.iterrows()}
        own = [found.get(place) for place in places]
        cells.append([*texts, *("" if row is None else number_text(row) for row in own)])
        better.append(
            [*(False for _ in texts), *(row is not None and row["better"] for row in own)]
        )
    columns = pd.MultiIndex.from_tuples([*(("", text) for text in stub), *places])
    return Table(
        number=number,
        title=title,
        stub=len(stub),
        cells=pd.DataFrame(cells, columns=columns, dtype=object),
        better=pd.DataFrame(better, columns=columns, dtype=bool),
        notes=tuple(notes),
    )


def stand_in_notes(frame: pd.DataFrame) -> Iterator[str]:
    """Name the stand-ins among the models of `frame` (columns model, stand_in), if any."""
    stand_ins = frame.loc[frame["stand_in"], "model"].unique()
    if len(stand_ins):
        yield (
            f"Stand-ins: {', '.join(stand_ins)}. They are tiny models made for trying the workflow "
            "out, not the paper's models: what they score says nothing about those."
        )
