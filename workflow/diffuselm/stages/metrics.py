"""Stage `measure`, last step: the metrics of all models, and those of natural references."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from diffuselm.files import contracts
from diffuselm.files.seeds import derive
from diffuselm.measure.metrics import NAMES, natural_rows
from diffuselm.tasks.names import draw_reference
from diffuselm.tasks.tasks import NaturalNames, load_task, task_of

NATURALLY_UNIFORM = "numbers"


def run(
    *,
    parts: Sequence[Path],
    tasks: Sequence[Path],
    targets: Sequence[Path],
    natural: Path,
    draws: int,
    seed: int,
    out: Path,
) -> None:
    """Concatenate the models' metrics and add as many draws from the natural distributions."""
    frames = [contracts.read_table(part, contracts.METRICS).to_pandas() for part in parts]
    target_sets = contracts.concatenate(targets, contracts.TARGETS).to_pandas()
    frames.extend(_natural(tasks, target_sets, natural, draws, seed))
    contracts.write_table(out, pd.concat(frames, ignore_index=True), contracts.METRICS)


def _natural(
    tasks: Sequence[Path], target_sets: pd.DataFrame, natural: Path, draws: int, seed: int
) -> Iterator[pd.DataFrame]:
    """As many draws from the natural distributions.

    Of a prompt with unequal weights that is its target distribution; of others it is that of births
    for names, and the uniform one for numbers. The openings of biographies are no answers.
    """
    names = contracts.read_table(natural, contracts.NATURAL)
    for prompt in (prompt for path in tasks for prompt in load_task(path)):
        own_seed = derive(seed, "natural", prompt.id)
        task = task_of(prompt.id)
        rows = target_sets[target_sets["prompt"] == prompt.id]
        texts, weights = rows["text"].to_numpy(), rows["weight"].to_numpy()
        if prompt.fields == 1 and len(set(weights)) > 1:
            drawn = np.random.default_rng(own_seed).choice(texts, draws, p=weights).tolist()
        elif task == NAMES or isinstance(prompt.targets, NaturalNames):
            drawn = draw_reference(names, draws, own_seed)
        elif task == NATURALLY_UNIFORM:
            drawn = np.random.default_rng(own_seed).choice(texts, draws).tolist()
        else:
            continue
        yield natural_rows(drawn, task, prompt.id, seed)
