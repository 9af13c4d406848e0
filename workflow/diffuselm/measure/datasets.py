"""Stage `write-records`: the dataset of one model and run, a row for each record."""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import date
from math import inf
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from diffuselm.errors import InputError
from diffuselm.files.schemas import SAMPLES
from diffuselm.files.tables import read_parts, written_table
from diffuselm.files.whole import written_whole
from diffuselm.measure.duplicates import Seen
from diffuselm.measure.flags import flags, one_json_line
from diffuselm.measure.records import read_answers, records_schema
from diffuselm.tasks.prompts import Prompt
from diffuselm.tasks.shares import shares_of
from diffuselm.tasks.target_sets import read_prompts


def write_records(
    *,
    samples: Path,
    drawn: list[Path] | None = None,
    targets: Path,
    records: int | None = None,
    out: Path,
) -> None:
    """Write the records among answers as Parquet and as JSON lines (with ISO dates).

    An answer that is malformed stays, with its problem and null fields. Memory is that of a part,
    and of what `Seen` keeps. The first part (row group) is of the answers of stage `sample`.

    Args:
        samples: answers of the run.
        drawn: further ones, after those; none where the first are enough.
        targets: target set of the task.
        records: how many there are to be; of each prompt its share, as far as it has answers.
            None: all answers.
        out: Parquet file to write; the lines go beside it.
    """
    prompts = {prompt.id: prompt for prompt in read_prompts([targets])}
    form = next(iter(prompts.values())).records
    if form is None:
        raise InputError(f"{targets}: prompts of one value each; expected a task of records")
    parts = (part for path in (samples, *(drawn or ())) for part in read_parts(path, SAMPLES))
    seen, schema = Seen(form), records_schema(form)
    with ExitStack() as both:
        table = both.enter_context(written_table(out, schema))
        lines_at = both.enter_context(written_whole(out.with_suffix(".jsonl")))
        lines = both.enter_context(lines_at.open("w", encoding="utf-8", newline="\n"))
        found = 0
        for answers in _wanted(parts, prompts, records):
            rows = [
                row | seen.marks(row) | {"flags": flags(row["answer"])}
                for row in read_answers(answers, prompts)
            ]
            part = pa.Table.from_pylist(rows, schema=schema)
            table.write_table(part)
            lines.writelines(map(_line, part.to_pylist()))
            found += len(rows)
        if not found:
            raise InputError(f"{samples}: no answers to {min(prompts)}; expected some")


def _wanted(
    parts: Iterable[pa.Table], prompts: dict[str, Prompt], records: int | None
) -> Iterator[list[dict]]:
    """The answers to the prompts, in order of prompt and draw, each prompt's first ones."""
    asked = list(prompts.values())
    wanted = dict.fromkeys(prompts, inf) if records is None else shares_of(asked, records)
    for part in parts:
        own = part.filter(pc.is_in(part["prompt"], pa.array(list(wanted), pa.string())))
        rows = own.sort_by([("prompt", "ascending"), ("draw", "ascending")]).to_pylist()
        if kept := [row for row in rows if row["draw"] < wanted[row["prompt"]]]:
            yield kept


def _line(row: dict) -> str:
    return one_json_line(json.dumps(row, ensure_ascii=False, default=date.isoformat)) + "\n"
