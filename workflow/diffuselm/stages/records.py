"""Stage `draw-records`: further answers to a task of records, beyond those of stage `sample`."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from diffuselm.config.sample import AnswerSettings
from diffuselm.files.json_files import write_json
from diffuselm.files.resume import resumed
from diffuselm.files.schemas import SAMPLES
from diffuselm.files.seeds import derive
from diffuselm.files.tables import written_table
from diffuselm.model.adapters import adapter_hash
from diffuselm.model.encoding import EncodedPrompt, encode_prompts
from diffuselm.model.opening import OpenModel, open_model
from diffuselm.progress import progress
from diffuselm.sampling.asking import Asking
from diffuselm.stages.model_jobs import ModelJob
from diffuselm.stages.sample import CODE
from diffuselm.tasks.prompts import task_of
from diffuselm.tasks.shares import shares_of
from diffuselm.tasks.target_sets import read_prompts

PART = 1_000  # answers, which are in memory together and kept together

Part = tuple[EncodedPrompt, int, int]  # a prompt, the first of its draws, and how many


def draw_records(
    *,
    job: ModelJob,
    adapter: Path | None = None,
    settings: AnswerSettings,
    records: int,
    out: Path,
) -> None:
    """Write the answers after the first ones, which have numbers from there on, and run.json.

    Each part has a seed of its own, from its prompt and number, and is kept until the whole is
    written: the same bytes whatever was done before.

    Args:
        adapter: adapter folder; none for the base model.
        records: how many there are to be in all; each prompt has its share.
        out: answers to write.
    """
    asked = read_prompts(job.targets)
    wanted, task = shares_of(asked, records), task_of(asked[0].id)
    used = {
        "tuning": job.tuning,
        "adapter_sha256": adapter_hash(adapter),
        "part": PART,
        # Not how many there are: a part is the same among more of them.
        **settings.model_dump(mode="json"),
    }
    opened = open_model(job.model, adapter)
    prompts = encode_prompts(opened.chat, job.targets)
    first = settings.draws[task]
    parts = [
        (prompt, start, min(PART, wanted[prompt.id] - start))
        for prompt in prompts
        for start in range(first, wanted[prompt.id], PART)
    ]
    with resumed(job.checkpoint, job.key(used, opened, (*CODE, "stages/records"))) as finished:
        with written_table(out, SAMPLES) as table:
            for part in progress(parts, unit="parts drawn"):
                name = f"{part[0].id}/{part[1]}-{part[2]}"
                drawn = partial(_answers, part, job, opened, settings)
                table.write_table(finished.table(name, SAMPLES, drawn))
        write_json(out.with_suffix(".run.json"), job.record({**used, "records": records}, opened))
        finished.clear()


def _answers(
    part: Part, job: ModelJob, opened: OpenModel, settings: AnswerSettings
) -> Iterator[dict[str, Any]]:
    """The answers of a part, numbered after those before."""
    prompt, start, count = part
    here = settings.model_copy(update={"draws": {task_of(prompt.id): count}})
    asking = Asking(opened, job.tuning, [prompt], here, derive(job.seed, "part", str(start)))
    for row in asking.samples(prompt):
        yield row | {"seed": job.seed, "draw": start + row["draw"]}
