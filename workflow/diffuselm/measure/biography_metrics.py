"""How diverse the biographies of one model and tuning are, field by field (Section 6).

All but `valid_rate` is measured over the valid ones of a prompt and seed; n is their number.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
import pandas as pd

from diffuselm.files.contracts import METRICS
from diffuselm.measure.biographies import GENDERS
from diffuselm.measure.intervals import (
    Interval,
    coverage_interval,
    entropy_interval,
    mean_interval,
    rate_interval,
)
from diffuselm.measure.metrics import coverage, entropy
from diffuselm.tasks.tasks import task_of

# The categorical attributes of Table 1, in its order.
ATTRIBUTES = ("first_name", "last_name", "gender", "birth_year", "birth_place", "profession")
# Field of each unigram diversity (Figure 4(b)), and the column whose words it counts. An answer
# that is valid has no word outside its six fields.
_PROSE = {"accomplishment": "accomplishment", "biography": "text"}
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")

# One metric of one field: field, metric, value, interval.
Measured = tuple[str, str, float, Interval]


def measure_biographies(
    frame: pd.DataFrame, base: pd.DataFrame | None, *, model: str, tuning: str
) -> pd.DataFrame:
    """Metrics of biographies, as rows of `contracts.METRICS`.

    `frame` and `base`, the same model's before tuning, are rows of `contracts.BIOGRAPHIES`. Each
    prompt and seed of `frame` is measured apart; what is commonest under `base` is so over all its
    seeds. Without base no `base_top_share`; without valid biographies only `valid_rate`, whose n is
    all answers. Of the answers as wholes (field "value"), `metrics.measure` tells.
    """
    base_top = {} if base is None else _base_top(base[base["valid"]])
    rows = [
        (task_of(prompt), prompt, "biography", "valid_rate", *_flat_rate(group["valid"]), seed)
        for (prompt, seed), group in frame.groupby(["prompt", "seed"])
    ]
    for (prompt, seed), group in frame[frame["valid"]].groupby(["prompt", "seed"]):
        found = [*_of_attributes(group, base_top), *_of_genders(group), *_of_prose(group)]
        rows += [
            # Rounding must not leave a value outside its own interval.
            (task_of(prompt), prompt, *one, min(low, one[-1]), max(high, one[-1]), len(group), seed)
            for *one, (low, high) in found
        ]
    names = ["task", "prompt", "field", "metric", "value", "ci_low", "ci_high", "n", "seed"]
    return pd.DataFrame(rows, columns=names).assign(model=model, tuning=tuning)[METRICS.names]


def words(text: str) -> list[str]:
    """The words of a text, lower-cased: runs of letters and digits, with ' or - inside a word."""
    return _WORD.findall(unicodedata.normalize("NFC", text).lower().replace("’", "'"))


def unigram_diversity(texts: Sequence[Sequence[str]]) -> float:
    """Distinct words / all words of `texts`, each given as its words (Figure 4(b))."""
    counts = Counter(word for text in texts for word in text)
    return len(counts) / counts.total()


def diversity_interval(texts: Sequence[Sequence[str]]) -> Interval:
    """95% interval for the expected unigram diversity of as many texts, each one word or more.

    The jackknife: a text left out takes its own words off the total, and off the distinct ones
    those that no other text has. Its variance errs to the wide side (Efron and Stein 1981). All
    of 0 to 1 for a single text.
    """
    n = len(texts)
    if n < 2:
        return 0.0, 1.0
    holders = Counter(word for text in texts for word in set(text))
    total = sum(map(len, texts))
    alone = np.array([sum(holders[word] == 1 for word in set(text)) for text in texts])
    without = (len(holders) - alone) / (total - np.array(list(map(len, texts))))
    # (n - 1) times as far apart as means of n - 1 are what n independent values would be.
    low, high = mean_interval((n - 1) * without)
    value = unigram_diversity(texts)
    return max(value - (high - low) / 2, 0.0), min(value + (high - low) / 2, 1.0)


def _of_attributes(rows: pd.DataFrame, base_top: dict[str, Hashable]) -> Iterator[Measured]:
    n = len(rows)
    for field in ATTRIBUTES:
        values = rows[field].tolist()
        counts = Counter(values)
        # Sorted, so that the last bits of a sum do not depend on the order of draws.
        sizes = sorted(counts.values())
        yield field, "coverage", float(coverage(values)), coverage_interval(sizes, n)
        yield field, "entropy", entropy(values), entropy_interval(sizes)
        yield field, "top_share", *_share(sizes[-1], n)
        if field in base_top:
            yield field, "base_top_share", *_share(counts[base_top[field]], n)


def _of_genders(rows: pd.DataFrame) -> Iterator[Measured]:
    counts = Counter(rows["gender"])
    for gender in GENDERS:
        metric = f"{gender.lower().replace('-', '_')}_share"
        yield "gender", metric, *_share(counts[gender], len(rows))


def _of_prose(rows: pd.DataFrame) -> Iterator[Measured]:
    for field, column in _PROSE.items():
        texts = [words(text) for text in rows[column]]
        yield field, "unigram_diversity", unigram_diversity(texts), diversity_interval(texts)


def _flat_rate(valid: pd.Series) -> tuple[float, float, float, int]:
    share, (low, high) = _share(int(valid.sum()), len(valid))
    return share, low, high, len(valid)


def _share(count: int, n: int) -> tuple[float, Interval]:
    return count / n, rate_interval(count, n)


def _base_top(rows: pd.DataFrame) -> dict[str, Hashable]:
    """The commonest value of each attribute; of equally common ones, the first by its text."""
    counts = {field: Counter(rows[field]) for field in ATTRIBUTES if len(rows)}
    return {
        field: min(count, key=lambda value, count=count: (-count[value], str(value)))
        for field, count in counts.items()
    }
