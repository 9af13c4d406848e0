"""Other ways to spread answers, side by side: the numbers of Table 9."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from diffuselm.config.base import checked
from diffuselm.config.paper import PAPER_TASKS
from diffuselm.files.runs import HELD, METHOD
from diffuselm.files.schemas import METRICS as ROWS
from diffuselm.files.tables import read_table
from diffuselm.measure.intervals import interval_of_mean
from diffuselm.measure.metrics import OF_TARGETS
from diffuselm.paper.comparison import (
    ABSENT,
    Key,
    ModelRecord,
    Models,
    Number,
    Numbers,
    mean_over_seeds,
    ood_tuning,
)
from diffuselm.paper.number_tables import HELD_BASE, RAW
from diffuselm.tasks.prompts import Prompt, task_of

# Of each task: metric -> its title and decimals.
OF_TASKS = {
    "valid_rate": ("valid rate", 3),
    "entropy": ("entropy (nats)", 2),
    "coverage": ("coverage", 1),
    "entropy_valid": ("entropy of valid answers (nats)", 2),
    "coverage_valid": ("coverage of valid answers", 1),
    "kl": ("KL divergence (nats)", 2),
    "tv": ("total variation", 3),
    "target_mass": ("target mass", 3),
    "cost_read": ("tokens read per valid distinct answer", 0),
    "cost_written": ("tokens written per valid distinct answer", 1),
}
# Likewise, of a tuning that listed some of the targets alone (Figure 8).
OF_LISTED = {"unlisted_mass": ("probability of targets not listed", 3)}
# Of a run as a whole: the task and the metric that stand for it, its title and decimals.
OF_RUNS = {
    "knowledge": ("knowledge", "target_mass", "knowledge", 3),
    "training_tokens": ("adapter", "training_tokens", "tokens read in training", 0),
}
MEAN = "mean"  # in place of a task
CONTROL = "none"
BASE, TAUGHT = "Base (baseline)", "Form taught (baseline)"
WAYS = ("decoding", "prompting", "training", "outside")
_ASKING = ("prompting", "outside")  # the baseline, in calls that differ
# Of raw texts, only these are shown.
_OF_RAW = ("valid_rate", *OF_TARGETS, *OF_RUNS)
# One row is one number, or the reason why there is none. `line` is what Figure 7 calls the method;
# `tuned_on` is what its run was tuned on, as seen from the task; `answers` are those to a prompt.
FRAME = {
    **dict.fromkeys(("model", "model_label"), "str"),
    "stand_in": "bool",
    "line": "int64",
    **dict.fromkeys(("way", "method", "kind", "settings"), "str"),
    **dict.fromkeys(("task", "tuning", "tuned_on", "answers", "metric"), "str"),
    **dict.fromkeys(("value", "ci_low", "ci_high"), "float64"),
    **dict.fromkeys(("n", "seeds"), "Int64"),
    "reason": "str",
}


@dataclass(frozen=True)
class Method:
    """What the plan says of a tuning that is a method, or of `all`, which is ours as it is."""

    way: Literal["decoding", "prompting", "training", "outside"]
    kind: str
    settings: dict[str, Any]
    tuned_on: tuple[str, ...]  # tasks; none of what trains nothing


class Line(NamedTuple):
    """A line of Table 9: a tuning, in whose name TASK stands for the task that is shown."""

    way: str
    name: str
    tuning: str
    method: Method | None = None

    def tuning_of(self, task: str, numbers: Numbers) -> str:
        """The tuning that it shows of a task."""
        if self.tuning == "without-TASK":
            return ood_tuning(task, numbers)
        return self.tuning.replace("TASK", task)

    def tuned_on(self, task: str) -> str:
        """What it was tuned on, as seen from a task."""
        if self.way != "training":
            return "no task"
        own = self.method.tuned_on if self.method else [task] if self.tuning == "only-TASK" else []
        if task not in own:
            return "other tasks"
        return "the task" if len(own) == 1 else "the task and others"


def read_methods(text: str) -> dict[str, Method]:
    """Methods by tuning, from JSON; raises InputError for anything else."""
    return checked(TypeAdapter(dict[str, Method]).validate_json, text, "--methods")


def averaged(tasks: Iterable[str]) -> list[str]:
    """The tasks that a mean is over: the paper's or, where there is none of them, all."""
    tasks = list(dict.fromkeys(tasks))
    return [task for task in tasks if task in PAPER_TASKS] or tasks


def method_frame(
    metrics: Path, models: Models, prompts: Sequence[Prompt], methods: Mapping[str, Method]
) -> pd.DataFrame:
    """Columns `FRAME`, in the order of models, lines, tasks (their mean first) and metrics.

    `metrics` is a file of `schemas.METRICS`, `prompts` are those of the tasks. A line whose tunings
    the model does not have gives no rows.
    """
    numbers = mean_over_seeds(read_table(metrics, ROWS).to_pandas())
    asked = Counter(task_of(prompt.id) for prompt in prompts)
    run = {(key.model, key.tuning) for key in numbers}
    rows: list[tuple] = []
    for model in models:
        for line in _lines(model, methods):
            tunings = {task: line.tuning_of(task, numbers) for task in asked}
            if any((model.model, tuning) in run for tuning in tunings.values()):
                about = (model.model, model.label, model.stand_in, 0, line.way, line.name)
                rows += (
                    (*about, *row) for row in _rows(line, model.model, tunings, asked, numbers)
                )
    frame = pd.DataFrame(rows, columns=list(FRAME))
    return frame.assign(line=pd.factorize(frame["method"])[0] + 1).astype(FRAME)


def _lines(model: ModelRecord, methods: Mapping[str, Method]) -> Iterator[Line]:
    """The lines of a model: what it says without a method, then the methods, way by way."""
    if model.baseline == "base":
        yield Line(CONTROL, BASE, "base")
    else:
        yield Line(CONTROL, RAW, "base")
        yield Line(CONTROL, TAUGHT, model.baseline)
    yield Line(CONTROL, HELD_BASE, HELD)
    for way in WAYS:
        if way == "training":
            yield Line(way, "ours, tuned on other tasks (OOD)", "without-TASK")
            yield Line(way, "ours, tuned on the task (ID)", "only-TASK")
        for tuning, method in methods.items():
            if method.way == way:
                ours = "ours, tuned on all" if tuning == "all" else ""
                yield Line(way, ours or tuning.removeprefix(METHOD), tuning, method)


def _rows(
    line: Line, model: str, tunings: Mapping[str, str], asked: Mapping[str, int], numbers: Numbers
) -> Iterator[tuple]:
    """The columns of `FRAME` that follow the name of a line."""
    shown = {
        task: {
            metric: _shown(line, Key(model, tuning, task, None, metric), numbers)
            for metric in (*OF_TASKS, *OF_LISTED, *OF_RUNS)
        }
        for task, tuning in tunings.items()
    }
    over = averaged(asked)
    kind = line.method.kind if line.method else {"training": "ours"}.get(line.way, "none")
    settings = line.method.settings if line.method else {}
    usual = {"training": "as configured"}.get(line.way, "none")
    made = kind, ", ".join(f"{name} {_told(its)}" for name, its in settings.items()) or usual
    for task, its in {MEAN: _means(shown, tunings, over), **shown}.items():
        tasks = over if task == MEAN else [task]
        about = (task, tunings.get(task, line.tuning), _tuned_on(line, tasks))
        about += (
            _answers([shown[each]["valid_rate"] for each in tasks], [asked[t] for t in tasks]),
        )
        for metric, found in its.items():
            number, reason = (ABSENT, found) if isinstance(found, str) else (found, "")
            yield (*made, *about, metric, *number, reason)


def _told(value: object) -> str:
    """A setting as a table tells it: of one that has a part for each task, for which."""
    return f"for {', '.join(value)}" if isinstance(value, Mapping) else str(value)


def _tuned_on(line: Line, tasks: Sequence[str]) -> str:
    """What a line was tuned on, as seen from some tasks: of how many, where they differ."""
    found = Counter(map(line.tuned_on, tasks))
    return ", ".join(f"{each}: {n}" if len(found) > 1 else each for each, n in found.items())


def _answers(rates: Sequence[Number | str], prompts: Sequence[int]) -> str:
    """How many answers a prompt of some tasks got: least to most, where they differ."""
    pairs = zip(rates, prompts, strict=True)
    found = sorted(r.n // (r.seeds * asked) for r, asked in pairs if not isinstance(r, str))
    return " to ".join(f"{n:,}" for n in dict.fromkeys(found[:1] + found[-1:])) or "none"


def _shown(line: Line, key: Key, numbers: Numbers) -> Number | str:
    """The number of a task under a line, or the reason why there is none."""
    if line.name == RAW and key.metric not in _OF_RAW:
        return "raw texts"
    place, metric, *_ = OF_RUNS.get(key.metric, (key.task, key.metric))
    if found := numbers.get(key._replace(task=place, metric=metric)):
        return found
    if key.metric == "training_tokens" and line.way == CONTROL:
        return "none"
    of_baseline = {"knowledge": _ASKING, "training_tokens": ("decoding", *_ASKING)}
    if line.way in of_baseline.get(key.metric, ()):
        return "as the baseline"
    if key.metric in OF_RUNS or key._replace(metric="valid_rate") not in numbers:
        return "not asked"
    if key.metric in OF_LISTED:
        return "all listed" if line.way == "training" else "none listed"
    if key.metric in OF_TARGETS:
        return "no single tree" if line.way in _ASKING else "targets not listed"
    return "no valid answer" if key.metric == "entropy_valid" else "not counted"


def _means(
    shown: Mapping[str, Mapping[str, Number | str]], tunings: Mapping[str, str], over: Sequence[str]
) -> dict[str, Number | str]:
    """The mean of each metric over tasks, or the reason why there is none."""
    found: dict[str, Number | str] = {}
    for metric in (*OF_TASKS, *OF_LISTED, *OF_RUNS):
        # What a run has as a whole counts once.
        names = {(tunings[task] if metric in OF_RUNS else task): task for task in over}
        its = [shown[task][metric] for task in names.values()]
        reasons = Counter(each for each in its if isinstance(each, str))
        if not reasons:
            found[metric] = mean_of(its)
        elif reasons.total() == len(its) and len(reasons) == 1:
            found[metric] = its[0]
        else:
            found[metric] = f"{len(its) - reasons.total()} of {len(its)} tasks"
    return found


def mean_of(numbers: Sequence[Number]) -> Number:
    """The mean of independent numbers, with its interval and all their draws."""
    values, ends = zip(*((number.value, number[1:3]) for number in numbers), strict=True)
    value, (low, high) = sum(values) / len(values), interval_of_mean(values, ends)
    n, seeds = sum(number.n for number in numbers), min(number.seeds for number in numbers)
    # Rounding must not leave a value outside its own interval.
    return Number(value, min(low, value), max(high, value), n, seeds)
