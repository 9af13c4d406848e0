"""The natural distributions that answers are compared with, and draws from them (Table 4)."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from diffuselm.files.schemas import METRICS, NATURAL
from diffuselm.files.seeds import derive
from diffuselm.files.tables import read_table, write_table
from diffuselm.measure.metrics import OF_OUTCOMES, metric_rows
from diffuselm.tasks.natural_names import draw_reference
from diffuselm.tasks.prompts import NaturalNames, Prompt, task_of
from diffuselm.tasks.target_sets import read_prompts

NAMES = "names"  # the task whose natural distribution, births, is no target set
UNIFORM = "numbers"  # the task whose even target sets are natural


def gather_metrics(
    *,
    measured: list[Path],
    targets: list[Path],
    natural: Path,
    draws: int,
    seed: int,
    out: Path,
) -> None:
    """Write the metrics of all models, and those of draws from the natural distributions.

    `measured` are the metrics of the models. The draws are as many as answers to a prompt; their
    model and tuning are both "natural", the last column of Table 4.
    """
    births = read_table(natural, NATURAL)
    frames = [read_table(file, METRICS).to_pandas() for file in measured]
    for prompt in read_prompts(targets):
        drawn = _draw(prompt, births, draws, derive(seed, "natural", prompt.id))
        if drawn is not None:
            found = ({"metric": name} | of(drawn)._asdict() for name, of in OF_OUTCOMES.items())
            ids = {"task": task_of(prompt.id), "prompt": prompt.id, "seed": seed}
            frames.append(metric_rows(found, model="natural", tuning="natural", **ids))
    write_table(out, pd.concat(frames, ignore_index=True), METRICS)


def _draw(prompt: Prompt, births: pa.Table, draws: int, seed: int) -> list[str] | None:
    """Draws from a prompt's natural distribution; None where none is known.

    With unequal weights that is its target distribution; else that of births for names, and the
    uniform one for numbers. The openings of biographies are no answers.
    """
    texts, weights = prompt.targets.texts, prompt.targets.weights
    rng = np.random.default_rng(seed)
    if prompt.fields == 1 and len(set(weights)) > 1:
        return rng.choice(texts, draws, p=weights).tolist()
    if task_of(prompt.id) == NAMES or isinstance(prompt.draw, NaturalNames):
        return draw_reference(births, draws, seed)
    if task_of(prompt.id) == UNIFORM:
        return rng.choice(texts, draws).tolist()
    return None
