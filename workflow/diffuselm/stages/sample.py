"""Stages `sample` and `sweep`: answers to prompts, and the exact probabilities of their targets."""

from functools import partial
from itertools import product
from pathlib import Path

import pyarrow as pa

from diffuselm.config.sample import AnswerSettings
from diffuselm.files.json_files import write_json
from diffuselm.files.provenance import file_hash
from diffuselm.files.resume import resumed
from diffuselm.files.schemas import EXACT, SAMPLES, SWEEP, TEXT
from diffuselm.files.tables import write_rows, write_table
from diffuselm.model.adapters import adapter_hash
from diffuselm.model.encoding import encode_prompts
from diffuselm.model.opening import open_model
from diffuselm.progress import progress
from diffuselm.sampling.asking import Asking
from diffuselm.stages.model_jobs import job_key, record_of
from diffuselm.tasks.paragraphs import read_paragraphs

CODE = ("tree", "model", "sampling")  # that answers and probabilities depend on


def sample(
    *,
    model: Path,
    adapter: Path | None = None,
    tuning: str,
    targets: list[Path],
    held_out_text: Path | None = None,
    settings: AnswerSettings,
    seed: int,
    checkpoint: Path,
    samples: Path,
    exact: Path,
    text: Path,
) -> None:
    """Write answers (with run.json beside them), exact probabilities and the held-out text's loss.

    What is done of the prompts is kept in the folder `checkpoint`, from where a killed job goes
    on; the folder is gone at the end.

    Args:
        model: record of the model.
        adapter: adapter folder; none for the base model.
        tuning: name of the tuning, for seeds.
        targets: target sets of the tasks to ask.
        held_out_text: plain text, a paragraph a line.
        seed: the run's seed.
        checkpoint: where to keep what is done.
        samples: answers to write.
        exact: exact probabilities to write.
        text: losses of the text to write.
    """
    used = {
        "tuning": tuning,
        "adapter_sha256": adapter_hash(adapter),
        "held_out_text": held_out_text and file_hash(held_out_text),
        "temperature": 1.0,
        **settings.model_dump(mode="json"),
    }
    opened = open_model(model, adapter)
    key = job_key(used, opened, targets=targets, seed=seed, code=CODE)
    with resumed(checkpoint, key) as finished:
        prompts = encode_prompts(opened.chat, targets, [])
        asking = Asking(opened, tuning, prompts, settings, seed)
        answers = [
            finished.table(f"samples/{p.id}", SAMPLES, partial(asking.samples, p))
            for p in progress(asking.sampled, unit="prompts sampled")
        ]
        scores = [
            finished.table(f"exact/{p.id}", EXACT, partial(asking.exact, p))
            for p in progress(prompts, unit="prompts scored")
        ]
        losses = asking.text(read_paragraphs(held_out_text)) if held_out_text else []
        made = record_of({**used, **asking.budgets}, opened, seed)
        write_table(samples, pa.concat_tables([SAMPLES.empty_table(), *answers]), SAMPLES)
        write_table(exact, pa.concat_tables(scores), EXACT)
        write_rows(text, losses, TEXT)
        write_json(samples.with_suffix(".run.json"), made)
        finished.clear()


def sweep(
    *,
    model: Path,
    adapter: Path | None = None,
    tuning: str,
    targets: list[Path],
    prompts: list[str],
    temperatures: list[float],
    settings: AnswerSettings,
    seed: int,
    checkpoint: Path,
    out: Path,
) -> None:
    """Write the answers to `prompts` at every temperature (footnote 6), and run.json beside them.

    What is done of them is kept in the folder `checkpoint`, from where a killed job goes on.

    Args:
        model: record of the model.
        adapter: adapter folder; none for the base model.
        tuning: name of the tuning.
        targets: target sets of the prompts' tasks.
        prompts: ids of the prompts to ask.
        temperatures: what logits are divided by.
        seed: the config's seed.
        checkpoint: where to keep what is done.
        out: answers to write.
    """
    used = {
        "tuning": tuning,
        "adapter_sha256": adapter_hash(adapter),
        "prompts": prompts,
        "temperatures": temperatures,
        **settings.model_dump(mode="json"),
    }
    opened = open_model(model, adapter)
    key = job_key(used, opened, targets=targets, seed=seed, code=CODE)
    with resumed(checkpoint, key) as finished:
        encoded = encode_prompts(opened.chat, targets, prompts)
        asking = Asking(opened, tuning, encoded, settings, seed)
        pairs = list(product(encoded, temperatures))
        answers = [
            finished.table(f"{p.id}/{t:g}", SWEEP, partial(asking.swept, p, t))
            for p, t in progress(pairs, unit="prompts and temperatures sampled")
        ]
        made = record_of({**used, **asking.budgets}, opened, seed)
        write_table(out, pa.concat_tables(answers), SWEEP)
        write_json(out.with_suffix(".run.json"), made)
        finished.clear()
