"""From answers to records: each read field by field, or kept with what is wrong with it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from diffuselm.files.schemas import columns
from diffuselm.model.answers import braced_values
from diffuselm.tasks.prompts import Prompt, task_of
from diffuselm.tasks.record_kinds import MalformedError
from diffuselm.tasks.records import Records

Row = dict[str, Any]


def records_schema(records: Records) -> pa.Schema:
    """The columns of a dataset."""
    types = {name: pa.type_for_alias(type) for name, type in records.columns.items()}
    return columns(**types)


def read_answers(answers: Iterable[Row], prompts: Mapping[str, Prompt]) -> Iterator[Row]:
    """Read rows of `schemas.SAMPLES`: the columns of their fields, `valid`, and the problem if not.

    `prompts` are those that were answered, by id; the values that they gave are columns, too.
    """
    for answer in answers:
        prompt = prompts[answer["prompt"]]
        row = {name: answer[name] for name in ("prompt", "seed", "draw")}
        row["answer"] = answer["text"]
        for name, value in prompt.given.items():
            row |= prompt.records.read_field(name, value)
        try:
            row |= read_record(prompt.records, answer["text"], ended=not answer["truncated"])
        except MalformedError as error:
            row["problem"] = str(error)
        yield row | {"valid": "problem" not in row}


def read_record(records: Records, text: str, *, ended: bool) -> Row:
    """Read an answer: its braced fields, one after another, as columns.

    Only white space may stand around the fields. `ended` is False for an answer cut off at the
    limit. Raises MalformedError, which names the first problem, and nothing else.
    """
    if not ended:
        raise MalformedError("answer is cut off")
    fields, outside = braced_values(text)
    # A nested or lone brace is left over when all pairs are taken out.
    if "{" in outside or "}" in outside:
        raise MalformedError("braces are nested or unpaired")
    if outside.strip():
        raise MalformedError("text stands outside the braces")
    if len(fields) != len(records.asked):
        raise MalformedError(f"fields are not {len(records.asked)}")
    row: Row = {}
    for name, field in zip(records.asked, fields, strict=True):
        row |= records.read_field(name, field)
    return row


def frame_of(answers: pd.DataFrame, task: str, prompts: Mapping[str, Prompt]) -> pd.DataFrame:
    """The records of a task among rows of `schemas.SAMPLES`, by prompt, seed and draw."""
    own = answers[answers["prompt"].map(task_of) == task]
    rows = own.sort_values(["prompt", "seed", "draw"], kind="stable").to_dict("records")
    records = next(prompt.records for prompt in prompts.values() if task_of(prompt.id) == task)
    # By way of Arrow: a column of nulls alone keeps its type, and a year stays whole beside nulls.
    table = pa.Table.from_pylist(list(read_answers(rows, prompts)), schema=records_schema(records))
    return table.to_pandas(integer_object_nulls=True)
