"""Our runs under the paper's names: its tasks, its models, and what counts as base, OOD and ID."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from diffuselm.errors import InputError
from diffuselm.paper.published import PAPER_MODELS

# Section 5's tasks, in its order, titled as in tables 5 and 6.
PAPER_TASKS = {
    "names": "Baby Names",
    "countries": "Countries",
    "fruits": "Fruits",
    "dates": "Days and Dates",
    "numbers": "Numbers",
    "occupations": "Occupations",
}


SHARES = r"_rate$|_share$|^target_mass$|^tv$"  # metrics that end at 1

# The tunings that a model may be compared with, and what tables and figures call each.
BASELINES = {"base": "Baseline", "form": "Form taught"}
# Measured on the untouched base whatever the baseline: no form is asked there.
_FORMLESS = ("text", "mt-bench", "adapter")
# A model that does not keep the form never ends a biography: all three are held to it.
_HELD = {"base": "held", "all": "held-all", "biographies": "held-biographies"}


@dataclass(frozen=True)
class ModelRecord:
    """A model that was run: its id, whether it only stands in, and for which of the paper's.

    Its baseline is `form` where it does not keep the asked form by itself: a tuning on the form
    alone then stands for the base model, and biographies are compared held to the form.
    """

    model: str
    stand_in: bool
    paper_model: str | None
    baseline: str = "base"

    @property
    def label(self) -> str:
        """The id, marked where a reader could take the model for the paper's."""
        return f"{self.model} (stand-in)" if self.stand_in else self.model

    @property
    def baseline_label(self) -> str:
        """What tables and figures call what this model's tunings are compared with."""
        return BASELINES[self.baseline]

    def measured_tuning(self, tuning: str, task: str) -> str:
        """The tuning whose numbers stand for `tuning` where this model is compared on `task`."""
        if self.baseline == "base" or task in _FORMLESS:
            return tuning
        if task == "biographies":
            return _HELD.get(tuning, tuning)
        return self.baseline if tuning == "base" else tuning


@dataclass(frozen=True)
class Number:
    """A metric, averaged over seeds: value, 95% interval, draws (all seeds together), seeds."""

    value: float
    ci_low: float
    ci_high: float
    n: int
    seeds: int


# (model, tuning, task, prompt or None for the mean over the task's prompts, metric)
Key = tuple[str, str, str, str | None, str]


def load_models(records: Sequence[Path]) -> tuple[ModelRecord, ...]:
    """Read `results/models/{model}.json`, in the order given.

    Raises InputError for a file that is no such record, or a model given twice.
    """
    models = tuple(_record(Path(path)) for path in records)
    seen: set[str] = set()
    for record, path in zip(models, records, strict=True):
        if record.model in seen:
            raise InputError(f"{path}: model {record.model!r} was given before, expected it once")
        seen.add(record.model)
    return models


def mean_over_seeds(metrics: pd.DataFrame) -> dict[Key, Number]:
    """Average the rows (`contracts.METRICS`, field "value") of each key over its seeds.

    The interval of a mean over seeds holds the averaged ends of theirs (what sampling leaves open)
    and the t interval over their values (what training leaves open), cut at 0 and for shares at 1.
    Raises InputError where one seed gives a number twice.
    """
    rows = metrics[metrics["field"] == "value"]
    rows = rows.assign(prompt=rows["prompt"].astype(object).where(rows["prompt"].notna(), ""))
    key = ["model", "tuning", "task", "prompt", "metric"]
    twice = rows[rows.duplicated([*key, "seed"])]
    if len(twice):
        found = tuple(twice.iloc[0][[*key, "seed"]])
        raise InputError(f"metrics: {found} stands twice, expected one row for each seed")
    how = {
        "value": ("value", "mean"),
        "ci_low": ("ci_low", "mean"),
        "ci_high": ("ci_high", "mean"),
        "n": ("n", "sum"),
        "seeds": ("seed", "count"),
        "error": ("value", "sem"),
    }
    means = rows.groupby(key, sort=False).agg(**how).reset_index()
    several = means["seeds"] > 1
    apart = (means["error"] * stdtrit(means["seeds"] - 1, 0.975)).where(several, 0.0)
    most = means["metric"].str.contains(SHARES).map({True: 1.0, False: np.inf})
    low = (means["value"] - apart).clip(lower=0).where(several, np.inf)
    high = (means["value"] + apart).clip(upper=most).where(several, -np.inf)
    means["ci_low"] = np.minimum(means["ci_low"], low)
    means["ci_high"] = np.maximum(means["ci_high"], high)
    return {
        (row.model, row.tuning, row.task, row.prompt or None, row.metric): Number(
            float(row.value), float(row.ci_low), float(row.ci_high), int(row.n), int(row.seeds)
        )
        for row in means.itertuples()
    }


def answers_per_prompt(metrics: pd.DataFrame) -> int | None:
    """N of Coverage-N (Eq. 4), or None where prompts were not all answered equally often.

    Of the prompts and tunings whose coverage is compared: of others, few answers check a rate.
    """
    checked = metrics["tuning"].eq("base") & metrics["model"].isin(
        metrics.loc[metrics["tuning"] == "form", "model"]
    )
    counted = metrics[
        (metrics["metric"] == "coverage")
        & (metrics["field"] == "value")
        & metrics["prompt"].notna()
        & ~metrics["task"].isin(("ranges", "knowledge", "biographies"))
        & ~checked
    ]
    numbers = set(counted["n"])
    return int(numbers.pop()) if len(numbers) == 1 else None


def tasks_of(numbers: dict[Key, Number]) -> dict[str, str]:
    """Title of each task that has a mean over its prompts: the paper's, in its order, then others.

    A task that the paper does not have is titled by its own name.
    """
    # What is tuned on: all else that is measured has tables and figures of its own.
    tunings = {tuning for _, tuning, *_ in numbers}
    found = {task for _, _, task, prompt, _ in numbers if prompt is None}
    found = {task for task in found if task in PAPER_TASKS or f"only-{task}" in tunings}
    paper = {task: title for task, title in PAPER_TASKS.items() if task in found}
    return paper | {task: task for task in sorted(found - paper.keys())}


def ood_tuning(task: str, numbers: dict[Key, Number]) -> str:
    """Name the tuning that never saw `task`: leave-one-out, or `all` for a task outside of it."""
    held_out = f"without-{task}"
    if any(tuning == held_out for _, tuning, *_ in numbers):
        return held_out
    return "all"


def _record(path: Path) -> ModelRecord:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}); expected a record") from error
    if not isinstance(record, dict):
        raise InputError(f"{path}: found {type(record).__name__}, expected a mapping")
    model, stand_in = record.get("model"), record.get("stand_in")
    if not (isinstance(model, str) and model):
        raise InputError(f"{path}: model is {model!r}, expected the model's id")
    if not isinstance(stand_in, bool):
        raise InputError(f"{path}: stand_in is {stand_in!r}, expected true or false")
    paper_model = record.get("paper_model")
    if paper_model not in (None, *PAPER_MODELS):
        raise InputError(
            f"{path}: paper_model is {paper_model!r}, expected null or one of {PAPER_MODELS}"
        )
    baseline = record.get("baseline", "base")
    if baseline not in tuple(BASELINES):
        raise InputError(f"{path}: baseline is {baseline!r}, expected one of {tuple(BASELINES)}")
    return ModelRecord(model, stand_in, paper_model, baseline)
