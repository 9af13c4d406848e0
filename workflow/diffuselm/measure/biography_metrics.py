"""How diverse the biographies of one model and tuning are, field by field (Section 6).

All but `valid_rate` is measured over the valid ones of a prompt and seed; n is their number.
"""

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
from diffuselm.tasks.persons import GENDERS
from diffuselm.tasks.prompts import task_of

# The categorical attributes of Table 1, in its order.
ATTRIBUTES = ("first_name", "last_name", "gender", "birth_year", "birth_place", "profession")
# Field of each unigram diversity (Figure 4(b)), and the column whose words it counts. An answer
# that is valid has no word outside its six fields.
_PROSE = {"accomplishment": "accomplishment", "biography": "text"}


def measure_biographies(
    frame: pd.DataFrame, base: pd.DataFrame | None, *, model: str, tuning: str
) -> pd.DataFrame:
    """Metrics of biographies, as rows of `schemas.METRICS`.

    `frame` and `base`, the same model's before tuning, are rows of `schemas.BIOGRAPHIES`. Each
    prompt and seed of `frame` is measured apart; what is commonest under `base` is so over all its
    seeds. Without base no `base_top_share`; without valid biographies only `valid_rate`, whose n is
    all answers. Metrics of whole answers (field "value") are those of `prompt_metrics`.
    """
    commonest = {} if base is None else _commonest(base[base["valid"]])
    found = [
        (ids, "biography", "valid_rate", rate(int(rows["valid"].sum()), len(rows)))
        for ids, rows in frame.groupby(["prompt", "seed"])
    ]
    for ids, rows in frame[frame["valid"]].groupby(["prompt", "seed"]):
        found += [(ids, *one) for one in _of_valid(rows, commonest)]
    rows = (
        {"task": task_of(prompt), "prompt": prompt, "field": field, "metric": metric, "seed": seed}
        | one._asdict()
        for (prompt, seed), field, metric, one in found
    )
    return metric_rows(rows, model=model, tuning=tuning)


def _of_valid(
    rows: pd.DataFrame, commonest: Mapping[str, Hashable]
) -> Iterator[tuple[str, str, Estimate]]:
    for field in ATTRIBUTES:
        values = rows[field].tolist()
        for name, metric in OF_OUTCOMES.items():
            yield field, name, metric(values)
        if field in commonest:
            yield field, "base_top_share", rate(values.count(commonest[field]), len(values))
    genders = rows["gender"].tolist()
    for gender in GENDERS:
        share = f"{gender.lower().replace('-', '_')}_share"
        yield "gender", share, rate(genders.count(gender), len(genders))
    for field, column in _PROSE.items():
        yield field, "unigram_diversity", unigram_diversity([words(text) for text in rows[column]])


def _commonest(rows: pd.DataFrame) -> dict[str, Hashable]:
    """The commonest value of each attribute; of equally common ones, the first by its text."""
    return {
        field: min(Counter(rows[field]).items(), key=lambda pair: (-pair[1], str(pair[0])))[0]
        for field in (ATTRIBUTES if len(rows) else ())
    }
