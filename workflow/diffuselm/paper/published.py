"""The numbers that the paper printed, transcribed in `resources/paper/published.csv`."""

import csv
import io
import math
from pathlib import Path
from typing import Annotated, Literal, Self

import pandas as pd
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from diffuselm.config.base import checked
from diffuselm.config.paper import PaperModel
from diffuselm.config.strict_files import read_text
from diffuselm.errors import InputError
from diffuselm.files.schemas import METRICS
from diffuselm.paper.biographies import PROMPT

_Id = Annotated[str, Field(pattern=r"^[a-z0-9]+([-_][a-z0-9]+)*$")]
_NoneIfEmpty = BeforeValidator(lambda text: text or None)
_SHARES = {"F": "female_share", "M": "male_share", "NB": "non_binary_share"}


class Printed(BaseModel):
    """One printed number: a row of the transcript, whose columns are these."""

    model_config = ConfigDict(extra="forbid")

    table: Annotated[Literal[1, 4, 5, 6, 7, 8], BeforeValidator(int)]
    task: _Id
    prompt: Annotated[str | None, _NoneIfEmpty]
    field: _Id
    model: PaperModel | Literal["natural"]
    tuning: _Id
    metric: Literal["count", "coverage", "entropy"]
    value: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    note: Literal["", "misprinted", "swapped"]
    rank: Annotated[Annotated[int, Field(ge=1, le=5)] | None, _NoneIfEmpty]
    text: Annotated[str | None, _NoneIfEmpty]

    @model_validator(mode="after")
    def _is_ranked_in_table_1_alone(self) -> Self:
        given = {self.rank is not None, self.text is not None}
        if given != {self.table == 1}:
            raise ValueError(
                f"rank {self.rank!r} and text {self.text!r}; expected a rank of 1 to 5 and a text "
                "in table 1 and neither elsewhere"
            )
        return self


COLUMNS = list(Printed.model_fields)
_KEY = ["table", "task", "prompt", "field", "model", "tuning", "metric", "rank"]


def load_published(path: Path) -> pd.DataFrame:
    """Read the transcript: one row per printed number, columns as in `Printed`, values as printed.

    A note is "", "misprinted" (to be compared with nothing) or "swapped" (see `unswapped`). Raises
    InputError, naming the line, for anything that `Printed` does not take, and for a number given
    twice.
    """
    text = read_text(Path(path), "a CSV file")
    try:
        lines = list(csv.reader(io.StringIO(text), strict=True))
    except csv.Error as error:
        raise InputError(f"{path}: not CSV ({error}); expected the transcript") from error
    if not lines or lines[0] != COLUMNS:
        raise InputError(f"{path}: columns are {lines[:1]}, expected {COLUMNS}")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        where = f"{path}: line {number}"
        if len(line) != len(COLUMNS):
            raise InputError(f"{where} has {len(line)} cells, expected {len(COLUMNS)}")
        row = checked(Printed.model_validate, dict(zip(COLUMNS, line, strict=True)), where)
        rows.append(row.model_dump())
    frame = pd.DataFrame(rows, columns=COLUMNS).astype({"table": "int64", "rank": "Int64"})
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


def as_metrics(published: pd.DataFrame) -> pd.DataFrame:
    """The paper's numbers as rows of `schemas.METRICS`, and their notes.

    Table 1's counts of 1,000 become shares: of the commonest value, of the value that is commonest
    under base, and of each gender.
    """
    rows = published.assign(prompt=published["prompt"].astype(object))
    rows.loc[rows["task"] == "biographies", "prompt"] = PROMPT
    counts = rows[rows["metric"] == "count"].assign(value=lambda counts: counts["value"] / 1000)
    top = counts[counts["rank"] == 1]
    base = top.loc[top["tuning"] == "base", ["field", "text"]]
    gender = counts[counts["field"] == "gender"]
    tables = [
        rows[rows["metric"] != "count"],
        top.assign(metric="top_share"),
        counts.merge(base, on=["field", "text"]).assign(metric="base_top_share"),
        gender.assign(metric=gender["text"].map(_SHARES)),
    ]
    ends = {"ci_low": math.nan, "ci_high": math.nan, "n": 1000, "seed": 0}
    return pd.concat(tables, ignore_index=True).assign(**ends)[[*METRICS.names, "note"]]
