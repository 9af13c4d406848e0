"""The metrics of each prompt under one tuning, and their means over the prompts of each task."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from diffuselm.errors import InputError
from diffuselm.measure.intervals import interval_of_mean
from diffuselm.measure.metrics import (
    OF_ANSWERS,
    OF_OUTCOMES,
    OF_TARGETS,
    Answers,
    Estimate,
    estimate,
    exactly,
    metric_rows,
    outcomes,
    unlisted_mass,
)
from diffuselm.measure.natural import NAMES
from diffuselm.tasks.prompts import task_of

Estimates = dict[str, Estimate]  # by metric


def measure(
    samples: pd.DataFrame,
    exact: pd.DataFrame,
    targets: Mapping[str, Mapping[str, float]],
    births: Mapping[str, float],
    *,
    model: str,
    tuning: str,
    seed: int,
    field: str = "value",
    tokens: Mapping[str, Sequence[int]] | None = None,
    listed: Mapping[str, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """All metrics of one (model, tuning), as rows of `schemas.METRICS`.

    `samples` and `exact` have the columns of the schemas of these names; `targets` are the weights
    of the targets of each prompt whose targets are whole answers, `births` the probability of each
    name, and `tokens` those of each prompt's calls and of all answers to it, where they are
    counted; `listed` are the targets that training saw of each prompt of which it did not see all.
    One row per prompt and metric, then one per task and metric (prompt null): the mean over the
    task's prompts that have it, as in tables 5 and 6, its n their total. `seed` is that of the
    exact metrics; those of samples are measured apart for each seed drawn. The order of the tables'
    rows changes nothing. Raises InputError for ids without task, repeated targets, and
    log-probabilities or distributions that are none.
    """
    where = f"{model}/{tuning}"
    for prompt in {*samples["prompt"], *exact["prompt"]}:
        if not (isinstance(prompt, str) and all(prompt.partition("/"))):
            raise InputError(f"{where}: prompt {prompt!r}; expected an id `task/slug`")
    found: dict[int, dict[str, Estimates]] = {}
    for (drawn, prompt), rows in samples.groupby(["seed", "prompt"]):
        known = births if task_of(prompt) == NAMES else {}
        about = targets.get(prompt), known, (tokens or {}).get(prompt)
        of_prompt = _of_samples(rows, *about, f"{where}: {prompt}")
        found.setdefault(int(drawn), {})[prompt] = of_prompt
    for prompt, rows in exact.groupby("prompt"):
        of_prompt = found.setdefault(seed, {}).setdefault(prompt, {})
        of_prompt |= _of_exact(rows, f"{where}: {prompt}")
        if prompt in (listed or {}):
            unlisted = rows.loc[~rows["target"].isin(listed[prompt]), "probability"]
            of_prompt["unlisted_mass"] = exactly(unlisted_mass(unlisted), len(unlisted))
    rows = [row for drawn, by_prompt in sorted(found.items()) for row in _rows(drawn, by_prompt)]
    return metric_rows(rows, model=model, tuning=tuning, field=field)


def _of_samples(
    rows: pd.DataFrame,
    targets: Mapping[str, float] | None,
    natural: Mapping[str, float],
    tokens: Sequence[int] | None,
    where: str,
) -> Estimates:
    logprobs = rows["logprob"].to_numpy(np.float64, na_value=np.nan)
    # Rounding may leave a sure answer a hair above 0.
    if (wrong := logprobs[~(np.isfinite(logprobs) & (logprobs <= 1e-3))]).size:
        raise InputError(f"{where}: logprob holds {wrong[0]}; expected finite numbers <= 0")
    values = [None if pd.isna(value) else value for value in rows["value"]]
    drawn = outcomes(values, rows["text"].tolist())
    answers = Answers(drawn, values, rows["valid"].tolist(), logprobs, targets, natural, tokens)
    found = {name: metric(drawn) for name, metric in OF_OUTCOMES.items()}
    of_answers = {name: metric(answers) for name, metric in OF_ANSWERS.items()}
    return found | {name: one for name, one in of_answers.items() if one is not None}


def _of_exact(rows: pd.DataFrame, where: str) -> Estimates:
    if (repeated := rows["target"][rows["target"].duplicated()]).size:
        raise InputError(
            f"{where}: exact target {repeated.iloc[0]!r} appears twice; expected it once"
        )
    w, p = rows["weight"].to_numpy(np.float64), rows["probability"].to_numpy(np.float64)
    # Probabilities come from float32 logits: their sum may pass 1 by rounding, not by more.
    for name, x, least, most in (("weight", w, 1 - 1e-6, 1 + 1e-6), ("probability", p, 0, 1.001)):
        if not ((x >= 0).all() and least <= x.sum() <= most):
            raise InputError(
                f"{where}: exact {name} has least {x.min()} and sum {x.sum()}; expected none "
                f"below 0 and a sum {'of' if least else 'up to'} 1"
            )
    return {name: exactly(metric(w, p), len(rows)) for name, metric in OF_TARGETS.items()}


def _rows(seed: int, by_prompt: Mapping[str, Estimates]) -> Iterator[dict]:
    """Rows of prompts, then of tasks: means over their prompts, which are drawn independently."""
    of_tasks: dict[str, dict[str, list[Estimate]]] = {}
    for prompt, found in sorted(by_prompt.items()):
        task = task_of(prompt)
        for metric, one in found.items():
            yield {"task": task, "prompt": prompt, "metric": metric, "seed": seed} | one._asdict()
            of_tasks.setdefault(task, {}).setdefault(metric, []).append(one)
    for task, by_metric in sorted(of_tasks.items()):
        for metric, ones in by_metric.items():
            values, lows, highs, ns = zip(*ones, strict=True)
            interval = interval_of_mean(values, list(zip(lows, highs, strict=True)))
            mean = estimate(sum(values) / len(values), interval, sum(ns))
            yield {"task": task, "prompt": None, "metric": metric, "seed": seed} | mean._asdict()
