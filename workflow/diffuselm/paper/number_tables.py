"""What tables of numbers (4 to 8) share: their tidy frame, beside the paper's, and its layout."""

from collections.abc import Iterable, Iterator, Sequence

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
# Columns of what is not trained at all, which stand first; last stands what is natural.
RAW, HELD_BASE = "Base as it is", "Base held to the form"
_ORDER = {RAW: 0, HELD_BASE: 1, "Natural": 3}
PAPER_NOTE = "“paper”: what the paper printed for its model (or the one stood in for)."


# Where a number stands (row, model, group, column), its key, and its decimals.
Place = tuple[str, ModelRecord, str, str, Key, int]


def tidy_frame(
    table: int, places: Iterable[Place], numbers: Numbers, published: pd.DataFrame
) -> pd.DataFrame:
    """One row (columns `FRAME`) for each place: its number, null where not run, and the paper's.

    Where a model is compared under another tuning than the paper's, that one's number is taken. Of
    answers of a base model that does not keep the form, only the rates are, and no number of the
    paper's: as raw texts they say nothing.
    """
    columns = [*Key._fields, "value", "note"]
    printed = published.loc[published["table"] == table, columns].astype(object)
    printed = printed.where(printed.notna(), None).itertuples(index=False, name=None)
    paper = {Key(*key): (value, note) for *key, value, note in printed}
    rows = []
    for row, model, group, column, asked, digits in places:
        raw = column == RAW
        tuning = asked.tuning if raw else model.measured_tuning(asked.tuning, asked.task)
        key = asked._replace(tuning=tuning)
        number = ABSENT if raw else numbers.get(key, ABSENT)
        rate_keys = (key._replace(metric=rate) for rate in ("valid_rate", "target_rate"))
        rates = (numbers.get(rate_key, ABSENT).value for rate_key in rate_keys)
        owner = "natural" if key.model == "natural" else model.paper_model
        of_paper = (None, "") if raw else paper.get(asked._replace(model=owner), (None, ""))
        headings = (table, row, model.model, model.label, model.stand_in, group, column)
        about = (key.task, key.prompt, key.tuning, key.metric)
        rows.append((*headings, *about, *number, *of_paper, *rates, False, digits))
    return pd.DataFrame(rows, columns=list(FRAME)).astype(FRAME)


def number_table(
    number: int,
    title: str,
    stub: Sequence[str],
    rows: Sequence[tuple[Sequence[str], pd.DataFrame]],
    frame: pd.DataFrame,
    notes: Sequence[str],
) -> Table:
    """Lay a `frame` of columns `FRAME` out under its groups of columns, in `rows`.

    Each row is its texts under `stub`, and what of the frame stands in it; other cells are empty.
    """
    heads = [("", text) for text in stub]
    for group, of_group in frame.groupby("group", sort=False):
        columns = sorted(of_group["column"].unique(), key=lambda column: _ORDER.get(column, 2))
        heads += [(group, column) for column in columns]
    shape = {"index": range(len(rows)), "columns": pd.MultiIndex.from_tuples(heads)}
    cells, better = pd.DataFrame("", **shape, dtype=object), pd.DataFrame(False, **shape)
    for i, (texts, of_row) in enumerate(rows):
        cells.iloc[i, : len(stub)] = texts
        for _, row in of_row.iterrows():
            place = (row["group"], row["column"])
            cells.at[i, place], better.at[i, place] = number_text(row), row["better"]
    return Table(number, title, len(stub), cells, notes, better)


def stand_in_notes(frame: pd.DataFrame) -> Iterator[str]:
    """Name the stand-ins among the models of `frame` (columns model, stand_in), if any."""
    stand_ins = frame.loc[frame["stand_in"], "model"].unique()
    if len(stand_ins):
        yield (
            f"Stand-ins: {', '.join(stand_ins)}. They are tiny models made for trying the workflow "
            "out, not the paper's models: what they score says nothing about those."
        )
