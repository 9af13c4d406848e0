"""Stage `targets`: the target sets of a task, drawn, and its prompts, for all later stages."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from diffuselm.config.base import Settings
from diffuselm.errors import InputError
from diffuselm.files.json_files import read_json, write_json
from diffuselm.files.schemas import NATURAL, TARGETS
from diffuselm.files.seeds import derive
from diffuselm.files.tables import read_table, write_rows
from diffuselm.tasks.natural_names import draw_names
from diffuselm.tasks.persons import draw_persons, opening
from diffuselm.tasks.prompts import NaturalNames, Persons, Prompt, TargetSet
from diffuselm.tasks.task_files import load_task


class _Prompts(Settings):
    """The prompts of a task, as they stand beside their target sets."""

    prompts: tuple[Prompt, ...]


def write_targets(*, task: Path, natural: Path | None = None, seed: int, out: Path) -> None:
    """Write the target sets of a task to `out`, a Parquet file, and its prompts beside it, as JSON.

    `natural` is the natural distribution of names, read where a prompt draws from it, and `seed`
    the config's. Raises InputError for a task that cannot be read, or names that cannot be drawn.
    """
    rows, prompts = [], load_task(task)
    for prompt in prompts:
        drawn = isinstance(prompt.draw, NaturalNames)
        names = read_table(natural, NATURAL) if drawn and natural else None
        try:
            targets = draw_targets(prompt, names, seed)
        except InputError as error:
            raise InputError(f"{natural or task}: {error}") from error
        for text, weight in zip(targets.texts, targets.weights, strict=True):
            rows.append({"prompt": prompt.id, "text": text, "weight": weight})
    _, beside = target_files(out)
    write_json(beside, _Prompts(prompts=prompts).model_dump(mode="json"))
    write_rows(out, rows, TARGETS)


def read_prompts(targets: Sequence[Path]) -> list[Prompt]:
    """Read what `write_targets` wrote: the prompts of some tasks, in order, with their target sets.

    Raises InputError for a file that is not as it was written.
    """
    prompts = []
    for path in targets:
        table, (_, beside) = read_table(path, TARGETS), target_files(path)
        for prompt in _Prompts.read(read_json(beside), beside).prompts:
            own = table.filter(pc.field("prompt") == prompt.id)
            if not own.num_rows:
                raise InputError(f"{path}: no targets of {prompt.id}; expected its target set")
            texts, weights = (tuple(own[name].to_pylist()) for name in ("text", "weight"))
            prompts.append(prompt.model_copy(update={"targets": TargetSet(texts, weights)}))
    return prompts


def target_files(out: Path) -> tuple[Path, Path]:
    """What `write_targets` writes: `out` and, beside it, the prompts."""
    return out, out.with_suffix(".json")


def draw_targets(prompt: Prompt, natural: pa.Table | None, seed: int) -> TargetSet:
    """The prompt's target set, drawn where the task says so.

    Beginnings of biographies are whole lines with their braces; all other texts are without.
    `seed` is the config's. Raises InputError where `natural` is needed and lacking.
    """
    own_seed = derive(seed, "targets", prompt.id)
    if prompt.draw is None:
        return prompt.targets
    if isinstance(prompt.draw, Persons):
        return TargetSet.of([opening(person) for person in draw_persons(own_seed)])
    if natural is None:
        raise InputError(f"{prompt.id}: targets are drawn from natural_names; expected their file")
    return TargetSet.of(draw_names(natural, prompt.draw.count, own_seed))
