"""Our runs under the paper's names: its tasks, its models, and what counts as base, OOD and ID."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass
from scipy.special import stdtrit

from diffuselm.config.base import checked
from diffuselm.config.paper import PAPER_TASKS, PaperModel
from diffuselm.errors import InputError
from diffuselm.files.runs import HELD, is_method
from diffuselm.files.schemas import METRICS
from diffuselm.files.tables import read_table
from diffuselm.measure.metrics import up_to_one
from diffuselm.tasks.prompts import BIOGRAPHIES

# As in tables 5 and 6.
_TITLES = ("Baby Names", "Countries", "Fruits", "Days and Dates", "Numbers", "Occupations")
TASK_TITLES = dict(zip(PAPER_TASKS, _TITLES, strict=True))
# Measured on the untouched base whatever the baseline: no form is asked there.
_FORMLESS = ("text", "mt-bench", "adapter")


@dataclass(frozen=True)
class ModelRecord:
    """A model that was run: its id, whether it only stands in, and for which of the paper's.

    Its baseline is `form` where it does not keep the asked form by itself: a tuning on the form
    alone then stands for the base model, and records are compared held to the form.
    """

    model: str = Field(min_length=1)
    stand_in: bool = Field(strict=True)
    paper_model: PaperModel | None = None
    baseline: Literal["base", "form"] = "base"
    of_records: tuple[str, ...] = (BIOGRAPHIES,)  # tasks: the paper's, and those of the cards

    @property
    def label(self) -> str:
        """The id, marked where a reader could take the model for the paper's."""
        return f"{self.model} (stand-in)" if self.stand_in else self.model

    @property
    def baseline_label(self) -> str:
        """What tables and figures call what this model's tunings are compared with."""
        return {"base": "Baseline", "form": "Form taught"}[self.baseline]

    def measured_tuning(self, tuning: str, task: str) -> str:
        """The tuning whose numbers stand for `tuning` where this model is compared on `task`."""
        if self.baseline == "base" or task in _FORMLESS:
            return tuning
        # A model that does not keep the form never ends a record: all three are held to it.
        if task in self.of_records:
            held = {"base": HELD, "all": f"{HELD}-all", task: f"{HELD}-{task}"}
            return held.get(tuning, tuning)
        return self.baseline if tuning == "base" else tuning


Models = Sequence[ModelRecord]


class Number(NamedTuple):
    """A metric, averaged over seeds: value, 95% interval, draws (all seeds together), seeds."""

    value: float
    ci_low: float
    ci_high: float
    n: int | None
    seeds: int | None


class Key(NamedTuple):
    """What a number is of; without a prompt, the mean over the task's prompts."""

    model: str
    tuning: str
    task: str
    prompt: str | None
    metric: str


Numbers = Mapping[Key, Number]
RunFiles = Mapping[tuple[str, str], Path]  # by model and tuning
ABSENT = Number(math.nan, math.nan, math.nan, None, None)


def load_models(records: Sequence[Path]) -> tuple[ModelRecord, ...]:
    """Read `results/models/{model}.json`, in the order given.

    Raises InputError for a file that is no such record, or a model given twice.
    """
    models: dict[str, ModelRecord] = {}
    for path in records:
        try:
            text = Path(path).read_bytes()
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; expected a model's record") from error
        record = checked(TypeAdapter(ModelRecord).validate_json, text, path)
        if record.model in models:
            raise InputError(f"{path}: model {record.model!r} was given before, expected it once")
        models[record.model] = record
    return tuple(models.values())


def read_metrics(path: Path) -> pd.DataFrame:
    """Rows of `schemas.METRICS`, but those of methods, which `methods` alone compares."""
    metrics = read_table(path, METRICS).to_pandas()
    return metrics[~metrics["tuning"].map(is_method).astype(bool)]


def mean_over_seeds(metrics: pd.DataFrame, field: str = "value") -> dict[Key, Number]:
    """Average the rows (`schemas.METRICS`) of `field` of each key over its seeds.

    The interval of a mean over seeds holds the averaged ends of theirs (what sampling leaves open)
    and the t interval over their values (what training leaves open), cut at 0 and, where a metric
    cannot pass it, at 1.
    Raises InputError where one seed gives a number twice.
    """
    rows = metrics[metrics["field"] == field]
    rows = rows.assign(prompt=rows["prompt"].astype(object).where(rows["prompt"].notna(), ""))
    key = list(Key._fields)
    twice = rows[rows.duplicated([*key, "seed"])]
    if len(twice):
        found = tuple(twice.iloc[0][[*key, "seed"]])
        raise InputError(f"metrics: {found} stands twice, expected one row for each seed")
    how = {name: (name, "mean") for name in ("value", "ci_low", "ci_high")}
    how |= {"n": ("n", "sum"), "seeds": ("seed", "count"), "error": ("value", "sem")}
    means = rows.groupby(key, sort=False).agg(**how).reset_index()
    several = means["seeds"] > 1
    apart = (means["error"] * stdtrit(means["seeds"] - 1, 0.975)).where(several, 0.0)
    low = (means["value"] - apart).clip(lower=0).where(several, np.inf)
    most = np.where(means["metric"].map(up_to_one), 1.0, np.inf)
    high = np.minimum(means["value"] + apart, most)
    means["ci_low"] = np.minimum(means["ci_low"], low)
    means["ci_high"] = np.maximum(means["ci_high"], high.where(several, -np.inf))
    return {
        Key(row.model, row.tuning, row.task, row.prompt or None, row.metric): Number(
            float(row.value), float(row.ci_low), float(row.ci_high), int(row.n), int(row.seeds)
        )
        for row in means.itertuples()
    }


def answers_per_prompt(metrics: pd.DataFrame) -> int | None:
    """N of Coverage-N (Eq. 4), or None where prompts were not all answered equally often.

    Of the prompts and tunings whose coverage is compared: of others, few answers check a rate.
    """
    taught = metrics.loc[metrics["tuning"] == "form", "model"]
    tuned = metrics["tuning"].str.removeprefix("only-")  # nobody is tuned on tasks from outside
    numbers = metrics.loc[
        (metrics["metric"] == "coverage")
        & (metrics["field"] == "value")
        & metrics["prompt"].notna()
        & metrics["task"].isin({*PAPER_TASKS, *tuned})
        & ~metrics["task"].isin(("ranges", "knowledge", "biographies"))
        & ~(metrics["tuning"].eq("base") & metrics["model"].isin(taught)),
        "n",
    ].unique()
    return int(numbers[0]) if len(numbers) == 1 else None


def tasks_of(numbers: Numbers) -> dict[str, str]:
    """Title of each task that has a mean over its prompts: the paper's, in its order, then others.

    A task that the paper does not have is titled by its own name.
    """
    # What is tuned on: all else that is measured has tables and figures of its own.
    tunings = {key.tuning for key in numbers}
    found = {key.task for key in numbers if key.prompt is None}
    found = {task for task in found if task in PAPER_TASKS or f"only-{task}" in tunings}
    paper = {task: title for task, title in TASK_TITLES.items() if task in found}
    return paper | {task: task for task in sorted(found - paper.keys())}


def ood_tuning(task: str, numbers: Numbers) -> str:
    """Name the tuning that never saw `task`: leave-one-out, or `all` for a task outside of it."""
    held_out = f"without-{task}"
    return held_out if any(key.tuning == held_out for key in numbers) else "all"


def falling(counts: Mapping[Any, float]) -> list[tuple[Any, float]]:
    """Most frequent first; ties by text, so that the order of draws never shows."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def by_model_and_tuning(paths: Sequence[Path]) -> RunFiles:
    """Files `{model}/{tuning}.parquet` by these two."""
    return {(Path(path).parent.name, Path(path).stem): Path(path) for path in paths}
