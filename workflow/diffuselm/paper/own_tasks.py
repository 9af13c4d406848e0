"""Numbers of the tasks that are not the paper's, before and after tuning, beside their targets'."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy.special import entr

from diffuselm.paper.comparison import ABSENT, Key, ModelRecord, Models, Numbers, ood_tuning
from diffuselm.paper.number_tables import HELD_BASE, RAW
from diffuselm.tasks.prompts import Prompt, task_of

# Metric -> its title and decimals.
METRICS = {
    "entropy": ("entropy (nats)", 2),
    "coverage": ("coverage", 1),
    "kl": ("KL divergence (nats)", 3),
    "target_mass": ("target mass", 3),
    "valid_rate": ("valid rate", 3),
}
BASELINE = "Baseline"
OUT, IN = "Tuned on other tasks (OOD)", "Tuned on the task (ID)"
_USUAL = (RAW, HELD_BASE, BASELINE, OUT, IN)
# One row is one number: the mean of a metric over a task's prompts under one tuning. `condition`
# is what the tuning is to the task, `target` what answers drawn from the targets would have, and
# `answers` how many each prompt got.
FRAME = {
    **dict.fromkeys(("task", "model", "model_label"), "str"),
    "stand_in": "bool",
    **dict.fromkeys(("condition", "tuning", "metric"), "str"),
    **dict.fromkeys(("value", "ci_low", "ci_high"), "float64"),
    **dict.fromkeys(("n", "seeds"), "Int64"),
    "target": "float64",
    **dict.fromkeys(("prompts", "answers"), "Int64"),
}


def task_frame(numbers: Numbers, models: Models, prompts: Sequence[Prompt]) -> pd.DataFrame:
    """Columns `FRAME`, in the order of tasks, models, conditions and metrics.

    `prompts` are those of the tasks, with their target sets. A number that was not measured is
    null; a condition under which no task was asked has no rows.
    """
    rows = []
    for task in dict.fromkeys(task_of(prompt.id) for prompt in prompts):
        own = [prompt for prompt in prompts if task_of(prompt.id) == task]
        for model in models:
            drawn = numbers.get(Key(model.model, model.baseline, task, None, "entropy"), ABSENT)
            answers = drawn.n and drawn.n // (drawn.seeds * len(own))
            target = of_targets(own, answers)
            for condition, tuning in _conditions(task, model, numbers):
                for metric in METRICS:
                    number = numbers.get(Key(model.model, tuning, task, None, metric), ABSENT)
                    if condition == RAW and metric in ("entropy", "coverage"):
                        number = ABSENT
                    about = (task, model.model, model.label, model.stand_in, condition, tuning)
                    rows.append((*about, metric, *number, target[metric], len(own), answers))
    frame = pd.DataFrame(rows, columns=list(FRAME)).astype(FRAME)
    return frame[frame.groupby("condition")["value"].transform("count") > 0]


def conditions_of(frame: pd.DataFrame) -> list[str]:
    """The conditions of a `frame` of columns `FRAME`: the usual ones in order, then others."""
    found = frame["condition"].unique()
    return [*(each for each in _USUAL if each in found), *(c for c in found if c not in _USUAL)]


def of_targets(prompts: Sequence[Prompt], answers: int | None) -> dict[str, float]:
    """What answers drawn from the target sets themselves have, the mean over a task's prompts.

    Entropy is that of the distribution; coverage is expected among so many answers to a prompt,
    NaN where their number is not known.
    """
    weights = [np.array(prompt.targets.weights) for prompt in prompts]
    drawn = np.nan if answers is None else answers
    return {
        "entropy": float(np.mean([entr(w).sum() for w in weights])),
        "coverage": float(np.mean([(1 - (1 - w) ** drawn).sum() for w in weights])),
        "kl": 0.0,
        "target_mass": 1.0,
        "valid_rate": 1.0,
    }


def _conditions(task: str, model: ModelRecord, numbers: Numbers) -> Iterator[tuple[str, str]]:
    """What a tuning is to the task, and the tuning: those before, then those after training."""
    tunings = ("base", "held", model.baseline, ood_tuning(task, numbers), f"only-{task}")
    usual = dict(zip(_USUAL, tunings, strict=True))
    if model.baseline == "base":
        del usual[RAW]
    yield from usual.items()
    asked = {key.tuning for key in numbers if (key.model, key.task) == (model.model, task)}
    for tuning in sorted(asked - {*tunings}):
        yield f"Tuning {tuning}", tuning
