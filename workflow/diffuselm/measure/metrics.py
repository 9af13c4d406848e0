"""The metrics: one short function each, and tables of them by what they are computed from.

A metric has the name of its function. A new one is a function here and a name in one of the tables.
Logarithms are natural. Intervals are at 95%; those of coverage and entropy hold the expectation of
the statistic at this N (see `intervals`), which is below the model's own support and entropy.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import chdtrc, entr, rel_entr

from diffuselm.files.schemas import METRICS
from diffuselm.measure.intervals import (
    Interval,
    chance_among,
    coverage_interval,
    distinct_interval,
    entropy_interval,
    mean_interval,
    rate_interval,
)

FEW, MANY = 10, 1000  # answers, of which metrics have the number in their names


class Estimate(NamedTuple):
    """A value, its 95% interval, and how many answers (or targets) it is computed from."""

    value: float
    ci_low: float
    ci_high: float
    n: int


def estimate(value: float, interval: Interval, n: int) -> Estimate:
    """An estimate whose interval holds its value, also where rounding would leave it outside."""
    return Estimate(float(value), min(interval[0], value), max(interval[1], value), n)


def exactly(value: float, n: int) -> Estimate:
    """An estimate of a number that nothing was drawn for: its interval is itself."""
    return Estimate(value, value, value, n)


def by_name(*metrics: Callable) -> dict[str, Callable]:
    """The metrics by the names of their functions."""
    return {metric.__name__: metric for metric in metrics}


def rate(hits: int, n: int) -> Estimate:
    """The share of `hits` among n."""
    return estimate(hits / n, rate_interval(hits, n), n)


# Of outcomes: what N answers, or N draws from a natural distribution, each count as.


def outcomes(values: Sequence[str | None], texts: Sequence[str]) -> list[str]:
    """What each answer counts as: its value, or its raw text where it has no value."""
    return [text if pd.isna(value) else value for value, text in zip(values, texts, strict=True)]


def coverage(drawn: Sequence[Hashable], n: int | None = None) -> Estimate:
    """Distinct outcomes among N (Eq. 4), which is `n` where some of N draws do not count."""
    # Sorted, here and below, so that the last bits of a sum do not depend on the order of draws.
    counts, n = sorted(Counter(drawn).values()), len(drawn) if n is None else n
    return estimate(len(counts), coverage_interval(counts, n), n)


def entropy(drawn: Sequence[Hashable]) -> Estimate:
    """Plug-in entropy (nats) of N >= 1 outcomes (Eq. 3)."""
    counts = sorted(Counter(drawn).values())
    shares = (count / len(drawn) for count in counts)
    value = max(-math.fsum(share * math.log(share) for share in shares), 0.0)
    return estimate(value, entropy_interval(counts), len(drawn))


def top_share(drawn: Sequence[Hashable]) -> Estimate:
    """Share of the commonest outcome (Section 4.1, Table 1)."""
    return rate(max(Counter(drawn).values()), len(drawn))


OF_OUTCOMES = by_name(coverage, entropy, top_share)


# Of answers to one prompt under one seed.


@dataclass(frozen=True)
class Answers:
    """N answers to a prompt, and what their values are compared with."""

    outcomes: list[str]
    values: list[str | None]
    valid: list[bool]
    logprobs: np.ndarray
    targets: Mapping[str, float] | None  # with weights; None where they are no whole answers
    natural: Mapping[str, float]  # probability of each value; empty where none is known
    tokens: Sequence[int] | None = None  # of all calls, and of all answers; None where not counted

    def __len__(self) -> int:
        return len(self.values)


def entropy_model(answers: Answers) -> Estimate:
    """Minus the mean log-probability: unbiased for the entropy (nats) of the model itself."""
    low, high = mean_interval(-answers.logprobs)
    value = max(-math.fsum(answers.logprobs) / len(answers), 0.0)
    return estimate(value, (max(low, 0.0), max(high, 0.0)), len(answers))


def distinct_10(answers: Answers) -> Estimate | None:
    """Distinct outcomes among 10 of the N answers, the mean over all choices of 10.

    So the expectation of 10 answers, without bias. None where there are no more than 10.
    """
    counts = np.array(sorted(Counter(answers.outcomes).values()))
    if len(answers) <= FEW:
        return None
    value = math.fsum(chance_among(counts, len(answers), FEW))
    return estimate(value, distinct_interval(counts, FEW), len(answers))


def coverage_valid(answers: Answers) -> Estimate:
    """Distinct values of valid answers (Eq. 4)."""
    return coverage(_valid_values(answers), len(answers))


def entropy_valid(answers: Answers) -> Estimate | None:
    """Plug-in entropy (nats) of the values of valid answers (Eq. 3); None where there is none."""
    return entropy(found) if (found := _valid_values(answers)) else None


def _valid_values(answers: Answers) -> list[str]:
    pairs = zip(answers.values, answers.valid, strict=True)
    return [value for value, valid in pairs if valid and value is not None]


def cost_read(answers: Answers) -> Estimate | None:
    """Tokens of all calls' prompts for each valid distinct value (Table 9)."""
    return answers.tokens and _cost(answers.tokens[0], answers)


def cost_written(answers: Answers) -> Estimate | None:
    """Tokens of all answers for each valid distinct value (Table 9)."""
    return answers.tokens and _cost(answers.tokens[1], answers)


def _cost(tokens: int, answers: Answers) -> Estimate:
    """Tokens over `coverage_valid` and the ends of its interval; infinite where none is valid.

    So it grows with N: distinct values become rarer.
    """
    distinct, low, high, n = coverage_valid(answers)
    return Estimate(*(tokens / each if each else math.inf for each in (distinct, high, low)), n)


def valid_rate(answers: Answers) -> Estimate:
    """Share of answers that keep to the asked form and end by themselves."""
    return rate(sum(answers.valid), len(answers))


def target_rate(answers: Answers) -> Estimate | None:
    """Share of answers whose value is one of the targets: accuracy, where these are right."""
    if answers.targets is None:
        return None
    return rate(sum(value in answers.targets for value in answers.values), len(answers))


def targets_covered(answers: Answers) -> Estimate | None:
    """Distinct targets among the values, at most as many as there are (Section 4.2)."""
    if answers.targets is None:
        return None
    found = coverage([v for v in answers.values if v in answers.targets], len(answers))
    return found._replace(ci_high=min(found.ci_high, float(len(answers.targets))))


def recall(answers: Answers) -> Estimate | None:
    """Share of the targets that are among the values."""
    if (found := targets_covered(answers)) is None:
        return None
    *ends, n = found
    return Estimate(*(end / len(answers.targets) for end in ends), n)


def chi_square_p(answers: Answers) -> Estimate | None:
    """P-value of Pearson's chi-square test of N answers against the target distribution (Table 10).

    An answer that is no target cannot come from the distribution: p is then 0. None where the
    targets are one cell alone (see `_pearson`).
    """
    found = _pearson(answers, len(answers))
    on_target = sum(value in (answers.targets or {}) for value in answers.values)
    return found if found is None or on_target == len(answers) else _of_a_test(0.0, len(answers))


def chi_square_on_target_p(answers: Answers) -> Estimate | None:
    """The same of those answers alone that are targets (Table 10)."""
    return _pearson(answers, sum(value in (answers.targets or {}) for value in answers.values))


def _pearson(answers: Answers, n: int) -> Estimate | None:
    """P-value of the counts of targets among answers, where n are expected in all.

    The rarest targets are one cell, of as many as leave no cell an expectation below 5; None where
    that leaves one cell alone.
    """
    if answers.targets is None:
        return None
    counts = Counter(answers.values)
    rising = sorted((weight, text) for text, weight in answers.targets.items())
    expected = np.array([weight * n for weight, _ in rising])
    enough = 5 - 1e-9  # rounding may leave a whole 5 below it
    rare = max(np.searchsorted(np.cumsum(expected), enough) + 1, np.searchsorted(expected, enough))
    cells = [0, *range(rare, len(expected))]
    if len(cells) < 2:
        return None
    observed = np.add.reduceat([counts[text] for _, text in rising], cells)
    due = np.add.reduceat(expected, cells)
    return _of_a_test(float(chdtrc(len(cells) - 1, ((observed - due) ** 2 / due).sum())), n)


def _of_a_test(p: float, n: int) -> Estimate:
    """A p-value: its expectation is open after one test, so its interval is all of 0 to 1."""
    return estimate(p, (0.0, 1.0), n)


def natural_ratio(answers: Answers) -> Estimate | None:
    """How much commoner the commonest value is than it naturally is, where known (Section 4.1)."""
    counts = Counter(value for value in answers.values if value is not None)
    top = min(counts, key=lambda value: (-counts[value], value), default=None)
    if top not in answers.natural:
        return None
    *ends, n = rate(counts[top], counts.total())
    return Estimate(*(end / answers.natural[top] for end in ends), n)


OF_ANSWERS = by_name(
    distinct_10,
    entropy_model,
    coverage_valid,
    entropy_valid,
    valid_rate,
    target_rate,
    targets_covered,
    recall,
    chi_square_p,
    chi_square_on_target_p,
    cost_read,
    cost_written,
    natural_ratio,
)


# Of the exact probabilities of a target set, both of shape (targets,): p* in `weight`, which sums
# to 1, and the model's p in `probability`.


def kl(weight: ArrayLike, probability: ArrayLike) -> float:
    """KL divergence (nats) of the model from the target distribution (Eq. 2).

    Infinite where the model gives a target of positive weight no probability at all.
    """
    return math.fsum(rel_entr(weight, probability))


def tv(weight: ArrayLike, probability: ArrayLike) -> float:
    """Total variation between p* and the model over all strings.

    The model's mass off the targets, 1 - sum p, all stands against a p* of 0.
    """
    off = max(1.0 - math.fsum(probability), 0.0)
    return min((math.fsum(np.abs(np.subtract(weight, probability))) + off) / 2, 1.0)


def target_mass(weight: ArrayLike, probability: ArrayLike) -> float:
    """Probability that the model's answer is one of the targets."""
    return math.fsum(probability)


def entropy_exact(weight: ArrayLike, probability: ArrayLike) -> float:
    """Entropy (nats) of the model's answer given that it is one of the targets.

    The probabilities are first divided by their sum, so that a uniform model over T targets gives
    log T whatever its mass off them, which is `target_mass`. NaN where that sum is 0.
    """
    mass = math.fsum(probability)
    return math.fsum(entr(np.divide(probability, mass))) + 0.0 if mass > 0 else math.nan


def expected_recall(probability: ArrayLike, draws: int) -> float:
    """Share of the targets that are expected among so many answers."""
    p = np.minimum(np.asarray(probability, dtype=np.float64), 1.0)  # rounding may leave it above
    with np.errstate(divide="ignore"):
        return math.fsum(-np.expm1(draws * np.log1p(-p))) / len(p)


def recall_10(weight: ArrayLike, probability: ArrayLike) -> float:
    """Share of the targets that are expected among 10 answers."""
    return expected_recall(probability, FEW)


def recall_1000(weight: ArrayLike, probability: ArrayLike) -> float:
    """Share of the targets that are expected among 1,000 answers."""
    return expected_recall(probability, MANY)


OF_TARGETS = by_name(kl, tv, target_mass, entropy_exact, recall_10, recall_1000)


def unlisted_mass(unlisted: ArrayLike) -> float:
    """Probability that the answer is a target that training did not list (Figure 8).

    `unlisted` (shape: such targets) are the model's probabilities of these.
    """
    return math.fsum(unlisted)


# Of prose, given as the words of each text.

_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")


def words(text: str) -> list[str]:
    """The words of a text, lower-cased: runs of letters and digits, with ' or - inside a word."""
    return _WORD.findall(unicodedata.normalize("NFC", text).lower().replace("’", "'"))


def unigram_diversity(texts: Sequence[Sequence[str]]) -> Estimate:
    """Distinct words / all words of the texts, each of one word or more (Figure 4(b)).

    Its interval, for the expectation over as many texts, is the jackknife's: a text left out takes
    its own words off the total, and off the distinct ones those that no other text has. Its
    variance errs to the wide side (Efron and Stein 1981). All of 0 to 1 for a single text.
    """
    n, lengths = len(texts), np.array([len(text) for text in texts])
    holders = Counter(word for text in texts for word in set(text))
    value = len(holders) / int(lengths.sum())
    if n < 2:
        return Estimate(value, 0.0, 1.0, n)
    alone = np.array([sum(holders[word] == 1 for word in set(text)) for text in texts])
    without = (len(holders) - alone) / (lengths.sum() - lengths)
    # (n - 1) times as far apart as means of n - 1 are what n independent values would be.
    low, high = mean_interval((n - 1) * without)
    half = (high - low) / 2
    return estimate(value, (max(value - half, 0.0), min(value + half, 1.0)), n)


UP_TO_ONE = (
    "tv",
    "target_mass",
    "unlisted_mass",
    "chi_square_p",
    "chi_square_on_target_p",
    "unigram_diversity",
    "recall",
    "recall_10",
    "recall_1000",
)


def up_to_one(metric: str) -> bool:
    """Whether a metric cannot pass 1."""
    return metric in UP_TO_ONE or metric.endswith(("_rate", "_share"))


def metric_rows(rows: Iterable[Mapping], **same: object) -> pd.DataFrame:
    """Rows of `schemas.METRICS`, with columns `same` that all share; `field` is "value" if none.

    All of them have the columns of an `Estimate`.
    """
    return pd.DataFrame([{"field": "value", **same, **row} for row in rows], columns=METRICS.names)
