"""How diffuse a model is: the statistics of its samples and of its exact probabilities.

Logarithms are natural. Intervals are at 95%; those of coverage and entropy hold the expectation of
the statistic at this N (see `intervals`), which is below the model's own support and entropy.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import entr, rel_entr

from diffuselm.errors import InputError
from diffuselm.files.contracts import METRICS
from diffuselm.measure.intervals import (
    Interval,
    coverage_interval,
    entropy_interval,
    interval_of_mean,
    mean_interval,
    rate_interval,
)
from diffuselm.tasks.tasks import task_of

NAMES = "names"  # the task with a natural distribution that is no target set
# One metric of one prompt: name, value, interval, n.
Measured = tuple[str, float, Interval, int]


def outcomes(values: Sequence[str | None], texts: Sequence[str]) -> list[str]:
    """What each answer counts as: its value, or its raw text where it has no value."""
    return [text if pd.isna(value) else value for value, text in zip(values, texts, strict=True)]


def coverage(outcomes: Sequence[Hashable]) -> int:
    """Number of distinct outcomes among N (Eq. 4)."""
    return len(set(outcomes))


def entropy(outcomes: Sequence[Hashable]) -> float:
    """Plug-in entropy (nats) of N >= 1 outcomes (Eq. 3)."""
    shares = (count / len(outcomes) for count in Counter(outcomes).values())
    return max(-math.fsum(share * math.log(share) for share in shares), 0.0)


def entropy_model(logprobs: ArrayLike) -> float:
    """Minus the mean log-probability of the samples: unbiased for the model's entropy (nats)."""
    x = np.asarray(logprobs, dtype=np.float64)
    return max(-math.fsum(x) / x.size, 0.0)


def kl(weight: ArrayLike, probability: ArrayLike) -> float:
    """KL divergence (nats) of the model from the target distribution (Eq. 2).

    `weight` and `probability`, both of shape (targets,), are p* and the model's p of each target.
    Infinite where the model gives a target of positive weight no probability at all.
    """
    return math.fsum(rel_entr(np.asarray(weight, float), np.asarray(probability, float)))


def tv(weight: ArrayLike, probability: ArrayLike) -> float:
    """Total variation between p* and the model over all strings, both of shape (targets,).

    The model's mass off the targets, 1 - sum p, all stands against a p* of 0.
    """
    off = max(1.0 - target_mass(probability), 0.0)
    apart = np.abs(np.asarray(weight, float) - np.asarray(probability, float))
    return min((math.fsum(apart) + off) / 2, 1.0)


def target_mass(probability: ArrayLike) -> float:
    """Probability that the model's answer is one of the targets: the sum of `probability`."""
    return math.fsum(np.asarray(probability, float))


def entropy_exact(probability: ArrayLike) -> float:
    """Entropy (nats) of the model's answer given that it is one of the targets.

    The probabilities, shape (targets,), are first divided by their sum, so that a uniform model
    over T targets gives log T whatever its mass off them, which `target_mass` tells. NaN where that
    sum is 0.
    """
    p = np.asarray(probability, float)
    mass = target_mass(p)
    return math.fsum(entr(p / mass)) + 0.0 if mass > 0 else math.nan


def measure(
    samples: pd.DataFrame,
    exact: pd.DataFrame,
    targets: pd.DataFrame,
    natural: pd.DataFrame,
    *,
    model: str,
    tuning: str,
    seed: int,
    field: str = "value",
) -> pd.DataFrame:
    """All metrics of one (model, tuning), as rows of `contracts.METRICS`.

    `samples`, `exact`, `targets` and `natural` have the columns of the contracts of these names;
    `exact` and `targets` may be empty or lack prompts; `natural` is the distribution of names. One
    row per prompt and metric, then one per task and metric (prompt null): the mean over the task's
    prompts that have it, as in tables 5 and 6, its n their total. `seed` is that of the exact
    metrics; those of samples are measured apart for each seed drawn. Rows depend only on what the
    tables hold, not on its order.
    Raises InputError for a prompt id without task, a log-probability that is none, a repeated exact
    target, or weights and probabilities that are no distributions.
    """
    where = f"{model}/{tuning}"
    for frame in (samples, exact):
        _check_prompts(frame, where)
    # The braced openings of biographies are no answers.
    answers = targets[~targets["text"].str.startswith("{")]
    target_texts = {prompt: set(rows["text"]) for prompt, rows in answers.groupby("prompt")}
    by_seed: dict[int, dict[str, list[Measured]]] = {}
    births = dict(zip(natural["name"], natural["probability"], strict=True))
    for (drawn, prompt), rows in samples.groupby(["seed", "prompt"]):
        found = list(_of_samples(rows, target_texts.get(prompt), f"{where}: {prompt}"))
        if task_of(prompt) == NAMES:
            found += _natural_ratio(rows["value"].dropna().tolist(), births)
        by_seed.setdefault(int(drawn), {})[prompt] = found
    for prompt, rows in exact.groupby("prompt"):
        found = _of_targets(rows, f"{where}: {prompt}")
        by_seed.setdefault(seed, {}).setdefault(prompt, []).extend(found)
    rows = []
    for drawn, by_prompt in sorted(by_seed.items()):
        by_prompt = dict(sorted(by_prompt.items()))
        for prompt, found in by_prompt.items():
            rows += [(task_of(prompt), prompt, *_flat(one), drawn) for one in found]
        rows += [(task, None, *_flat(one), drawn) for task, one in _task_means(by_prompt)]
    return _table(rows, model, tuning, field)


def natural_rows(outcomes: Sequence[str], task: str, prompt: str, seed: int) -> pd.DataFrame:
    """Coverage and entropy of draws from the natural distribution, as rows of `contracts.METRICS`.

    Model and tuning are both "natural": the last column of table 4. `outcomes` are at least one.
    """
    if not outcomes:
        raise InputError(f"{prompt}: no draws from the natural distribution; expected at least 1")
    found = _of_outcomes(outcomes)
    rows = [(task, prompt, *_flat(one), seed) for one in found]
    return _table(rows, "natural", "natural", "value")


def _of_outcomes(drawn: Sequence[str]) -> list[Measured]:
    # Sorted, so that the last bits of a sum do not depend on the order of draws.
    counts = sorted(Counter(drawn).values())
    n = len(drawn)
    return [
        ("coverage", float(coverage(drawn)), coverage_interval(counts, n), n),
        ("entropy", entropy(drawn), entropy_interval(counts), n),
        ("top_share", counts[-1] / n, rate_interval(counts[-1], n), n),
    ]


def _natural_ratio(drawn: Sequence[str], natural: Mapping[str, float]) -> Iterator[Measured]:
    """How much commoner the commonest value is than it naturally is, where the latter is known."""
    counts, n = Counter(drawn), len(drawn)
    top = min(counts, key=lambda value: (-counts[value], value), default=None)
    if top in natural:
        low, high = (share / natural[top] for share in rate_interval(counts[top], n))
        yield "natural_ratio", counts[top] / n / natural[top], (low, high), n


def _of_samples(
    rows: pd.DataFrame, target_texts: set[str] | None, where: str
) -> Iterator[Measured]:
    """The metrics of the samples of one prompt and seed; `target_rate` where targets are given."""
    n = len(rows)
    logprobs = rows["logprob"].to_numpy(np.float64, na_value=np.nan)
    # Rounding may leave a sure answer a hair above 0.
    if not (np.isfinite(logprobs) & (logprobs <= 1e-3)).all():
        raise InputError(f"{where}: logprob holds {_worst(logprobs)}; expected finite numbers <= 0")
    yield from _of_outcomes(outcomes(rows["value"].tolist(), rows["text"].tolist()))
    low, high = mean_interval(-logprobs)
    yield "entropy_model", entropy_model(logprobs), (max(low, 0.0), max(high, 0.0)), n
    valid = rows["valid"].to_numpy(bool)
    distinct = Counter(rows["value"][valid].dropna().tolist())
    of_valid = coverage_interval(sorted(distinct.values()), n)
    yield "coverage_valid", float(len(distinct)), of_valid, n
    yield "valid_rate", valid.sum() / n, rate_interval(int(valid.sum()), n), n
    if target_texts is not None:
        on_target = rows["value"].isin(target_texts)
        hits = int(on_target.sum())
        yield "target_rate", hits / n, rate_interval(hits, n), n
        covered = Counter(rows["value"][on_target].tolist())
        low, high = coverage_interval(sorted(covered.values()), n)
        bounded = (low, min(high, float(len(target_texts))))
        yield "targets_covered", float(len(covered)), bounded, n


def _of_targets(rows: pd.DataFrame, where: str) -> list[Measured]:
    """The exact metrics of one prompt: nothing is drawn, so each interval is its value."""
    if rows["target"].duplicated().any():
        repeated = rows["target"][rows["target"].duplicated()].iloc[0]
        raise InputError(f"{where}: exact target {repeated!r} appears twice; expected it once")
    w, p = rows["weight"].to_numpy(np.float64), rows["probability"].to_numpy(np.float64)
    for name, x in (("weight", w), ("probability", p)):
        # Probabilities come from float32 logits: their sum may pass 1 by rounding, not by more.
        least, most = (1 - 1e-6, 1 + 1e-6) if name == "weight" else (0.0, 1 + 1e-3)
        if not ((x >= 0).all() and least <= target_mass(x) <= most):
            raise InputError(
                f"{where}: exact {name} has least {x.min()!s} and sum {target_mass(x)!s}; "
                f"expected none below 0 and a sum {'of' if name == 'weight' else 'up to'} 1"
            )
    found = {
        "kl": kl(w, p),
        "tv": tv(w, p),
        "target_mass": target_mass(p),
        "entropy_exact": entropy_exact(p),
    }
    return [(name, value, (value, value), len(rows)) for name, value in found.items()]


def _task_means(by_prompt: dict[str, list[Measured]]) -> Iterator[tuple[str, Measured]]:
    """Mean over each task's prompts (tables 5 and 6); prompts are drawn independently."""
    groups: dict[tuple[str, str], list[Measured]] = {}
    for prompt, found in by_prompt.items():
        for one in found:
            groups.setdefault((task_of(prompt), one[0]), []).append(one)
    for (task, name), group in sorted(groups.items(), key=lambda item: item[0][0]):
        _, values, intervals, ns = zip(*group, strict=True)
        mean = sum(values) / len(values)
        yield task, (name, mean, interval_of_mean(values, intervals), sum(ns))


def _flat(one: Measured) -> tuple[str, float, float, float, int]:
    name, value, (low, high), n = one
    # Rounding must not leave a value outside its own interval.
    return name, float(value), min(low, value), max(high, value), n


def _table(rows: list[tuple], model: str, tuning: str, field: str) -> pd.DataFrame:
    names = ["task", "prompt", "metric", "value", "ci_low", "ci_high", "n", "seed"]
    table = pd.DataFrame(rows, columns=names)
    return table.assign(model=model, tuning=tuning, field=field)[METRICS.names]


def _check_prompts(frame: pd.DataFrame, where: str) -> None:
    for prompt in frame["prompt"].unique():
        if not (isinstance(prompt, str) and all(prompt.partition("/"))):
            raise InputError(f"{where}: prompt {prompt!r}; expected an id `task/slug`")


def _worst(logprobs: np.ndarray) -> float:
    wrong = logprobs[~np.isfinite(logprobs)]
    return float(wrong[0] if wrong.size else logprobs.max())
