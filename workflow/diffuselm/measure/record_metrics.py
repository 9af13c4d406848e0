"""How diverse the records of one model and tuning are, field by field (Section 6).

All but `valid_rate` is measured over the valid ones of a prompt and seed; n is their number.
"""

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping

import pandas as pd

from diffuselm.measure.metrics import (
    OF_OUTCOMES,
    Estimate,
    metric_rows,
    rate,
    unigram_diversity,
    words,
)
from diffuselm.tasks.prompts import task_of
from diffuselm.tasks.record_kinds import KINDS
from diffuselm.tasks.records import Records

FEW = 10  # listed values of a field, of each of which the share is measured


def measure_records(
    frame: pd.DataFrame,
    base: pd.DataFrame | None,
    records: Records,
    *,
    model: str,
    tuning: str,
) -> pd.DataFrame:
    """Metrics of records, as rows of `schemas.METRICS`.

    `frame` and `base`, the same model's before tuning, have the columns of `records`. Each prompt
    and seed of `frame` is measured apart; what is commonest under `base` is so over all its prompts
    and seeds. Without base no `base_top_share`; without valid records only `valid_rate`, whose n is
    all answers. Metrics of whole answers (field "value") are those of `prompt_metrics`.
    """
    counted = [c for name in records.asked for c in counted_columns(records, name)]
    commonest = {} if base is None else _commonest(base[base["valid"]], counted)
    found = [
        (ids, records.record, "valid_rate", rate(int(rows["valid"].sum()), len(rows)))
        for ids, rows in frame.groupby(["prompt", "seed"])
    ]
    for ids, rows in frame[frame["valid"]].groupby(["prompt", "seed"]):
        found += [(ids, *one) for one in _of_valid(rows, commonest, counted, records)]
    rows = (
        {"task": task_of(prompt), "prompt": prompt, "field": field, "metric": metric, "seed": seed}
        | one._asdict()
        for (prompt, seed), field, metric, one in found
    )
    return metric_rows(rows, model=model, tuning=tuning)


def counted_columns(records: Records, name: str) -> list[str]:
    """The columns of a field of which coverage and entropy are measured."""
    return [column.format(name) for column in KINDS[records.kind(name)].counted]


def _of_valid(
    rows: pd.DataFrame, commonest: Mapping[str, Hashable], counted: list[str], records: Records
) -> Iterator[tuple[str, str, Estimate]]:
    for column in counted:
        values = rows[column].tolist()
        for name, metric in OF_OUTCOMES.items():
            yield column, name, metric(values)
        if column in commonest:
            yield column, "base_top_share", rate(values.count(commonest[column]), len(values))
    for name in records.asked:
        listed = records.choices(name)
        values = rows[name].astype(str).tolist() if 0 < len(listed) <= FEW else []
        for value in listed if values else ():
            share = re.sub(r"[\W_]+", "_", value.lower())
            yield name, f"{share}_share", rate(values.count(value), len(values))
    # An answer that is valid has no word outside its fields.
    prose = {name: name for name in records.asked if records.kind(name) == "prose"}
    for field, column in (prose | {records.record: "answer"}).items():
        yield field, "unigram_diversity", unigram_diversity([words(text) for text in rows[column]])


def _commonest(rows: pd.DataFrame, counted: list[str]) -> dict[str, Hashable]:
    """The commonest value of each column; of equally common ones, the first by its text."""
    return {
        column: min(Counter(rows[column]).items(), key=lambda pair: (-pair[1], str(pair[0])))[0]
        for column in (counted if len(rows) else ())
    }
