"""Stage `targets`: the target sets of a task, drawn, and its prompts, for all later stages."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from diffuselm.config.base import Settings
from diffuselm.errors import InputError
from diffuselm.files.json_files import read_json, write_json
from diffuselm.files.schemas import NATURAL, TARGETS
from diffuselm.files.seeds import derive
from diffuselm.files.tables import read_table, write_rows
from diffuselm.tasks.natural_names import draw_names
from diffuselm.tasks.prompts import NaturalNames, Prompt
from diffuselm.tasks.records import Records
from diffuselm.tasks.task_files import load_task
from diffuselm.tasks.texts import TargetSet
from diffuselm.tasks.tuples import draw_tuples


class _Prompts(Settings):
    """The prompts of a task, as they stand beside their target sets."""

    prompts: tuple[Prompt, ...]
    records: Annotated[Records | None, Field(exclude_if=lambda found: found is None)] = None


def write_targets(*, task: Path, natural: Path | None = None, seed: int, out: Path) -> None:
    """Write the target sets of a task to `out`, a Parquet file, and its prompts beside it, as JSON.

    `natural` is the natural distribution of names, read where a prompt draws from it, and `seed`
    the config's. Raises InputError for a task that cannot be read, or names that cannot be drawn.
    """
    prompts = []
    for prompt in load_task(task):
        drawn = isinstance(prompt.draw, NaturalNames)
        names = read_table(natural, NATURAL) if drawn and natural else None
        try:
            targets = draw_targets(prompt, names, seed)
        except InputError as error:
            raise InputError(f"{natural or task}: {error}") from error
        prompts.append(prompt.model_copy(update={"targets": targets}))
    write_prompts(out, prompts)


def write_prompts(out: Path, prompts: Sequence[Prompt]) -> None:
    """Write the target sets of a task's prompts to `out`, and the prompts beside it, as JSON."""
    rows = [
        {"prompt": prompt.id, "text": text, "weight": weight}
        for prompt in prompts
        for text, weight in zip(prompt.targets.texts, prompt.targets.weights, strict=True)
    ]
    _, beside = target_files(out)
    whole = _Prompts(prompts=prompts, records=prompts[0].records)
    write_json(beside, whole.model_dump(mode="json"))
    write_rows(out, rows, TARGETS)


def read_prompts(targets: Sequence[Path]) -> list[Prompt]:
    """Read what `write_prompts` wrote: the prompts of some tasks, in order, with their target sets.

    Raises InputError for a file that is not as it was written.
    """
    prompts = []
    for path in targets:
        table, (_, beside) = read_table(path, TARGETS), target_files(path)
        read = _Prompts.read(read_json(beside), beside)
        for prompt in read.prompts:
            own = table.filter(pc.field("prompt") == prompt.id)
            if not own.num_rows and (prompt.reading is None or prompt.reading.spellings):
                raise InputError(f"{path}: no targets of {prompt.id}; expected its target set")
            texts, weights = (tuple(own[name].to_pylist()) for name in ("text", "weight"))
            known = {"targets": TargetSet(texts, weights), "records": read.records}
            prompts.append(prompt.model_copy(update=known))
    return prompts


def target_files(out: Path) -> tuple[Path, Path]:
    """What `write_prompts` writes: `out` and, beside it, the prompts."""
    return out, out.with_suffix(".json")


def draw_targets(prompt: Prompt, natural: pa.Table | None, seed: int) -> TargetSet:
    """The prompt's target set, drawn where the task says so.

    Beginnings of records are whole lines with their braces; all other texts are without.
    `seed` is the config's. Raises InputError where `natural` is needed and lacking.
    """
    own_seed = derive(seed, "targets", prompt.id)
    if prompt.targets is not None:
        return prompt.targets
    if prompt.records is not None:
        return draw_tuples(prompt.records, prompt.given, own_seed)
    if natural is None:
        raise InputError(f"{prompt.id}: targets are drawn from natural_names; expected their file")
    return TargetSet.of(draw_names(natural, prompt.draw.count, own_seed))
