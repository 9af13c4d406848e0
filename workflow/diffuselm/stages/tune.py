"""Stage `tune`: train one adapter of one model on the prompts of one tuning."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diffuselm.config.tune import LoraSettings
from diffuselm.files.json_files import write_json
from diffuselm.files.provenance import file_hash
from diffuselm.files.resume import only_one
from diffuselm.files.schemas import TRAINING
from diffuselm.files.seeds import derive
from diffuselm.files.tables import write_rows
from diffuselm.files.whole import remove, written_folder
from diffuselm.methods.method import code_of, read_method
from diffuselm.methods.ours import Ours
from diffuselm.model.adapters import ADAPTER_FILES, adapter_hash
from diffuselm.model.encoding import encode_prompts, text_ids
from diffuselm.model.opening import open_model
from diffuselm.stages.model_jobs import ModelJob
from diffuselm.tasks.paragraphs import read_paragraphs
from diffuselm.tuning import loop
from diffuselm.tuning.adapter import save

CODE = ("tree", "model", "tuning")  # that adapters depend on, beside the code of a method


def tune(
    *,
    job: ModelJob,
    start: Path | None = None,
    method: str | None = None,
    settings: LoraSettings = LoraSettings(),
    checkpoint_seconds: float = 60,
    out: Path,
) -> None:
    """Write the adapter folder: a plain PEFT adapter, training.parquet and run.json.

    Args:
        start: folder of the adapter that is trained further, if any.
        method: how it is trained in another way: its entry in the config, as JSON.
        checkpoint_seconds: time between two checkpoints.
        out: folder to write.
    """
    with only_one(job.checkpoint):
        opened = open_model(job.model)
        by = read_method(json.loads(method), "--method") if method else Ours()
        paragraphs = read_paragraphs(by.reads) if by.reads else []
        used = {
            "tuning": job.tuning,
            "prompts": job.prompts,
            "start_sha256": adapter_hash(start),
            **({"method": by.entry} if method else {}),
            **({"text_sha256": file_hash(by.reads)} if by.reads else {}),
            **settings.model_dump(mode="json"),
        }
        seed = derive(job.seed, "tune", opened.name, job.tuning)
        prompts = encode_prompts(opened.chat, job.targets, job.prompts)
        listed = [by.listed(prompt, seed) for prompt in prompts]
        tuned = loop.tune(
            opened.model,
            listed,
            settings,
            seed,
            start,
            method=by,
            texts=[text_ids(opened.chat.tokenizer, paragraph) for paragraph in paragraphs],
            checkpoint=job.checkpoint,
            key=job.key(used, opened, (*CODE, *code_of(by))),
            every=checkpoint_seconds,
        )
        made = job.record({**used, "token_budget": tuned.token_budget}, opened)
        pairs = zip(listed, prompts, strict=True)
        if few := {one.id: [*one.targets] for one, whole in pairs if one.targets != whole.targets}:
            made["listed"] = few
        with written_folder(out) as part:
            write_adapter(part, tuned, made)
        remove(job.checkpoint)


def write_adapter(folder: Path, tuned: loop.Tuned, made: dict[str, Any]) -> dict[str, Any]:
    """Write the adapter, training.parquet and run.json; returns what run.json holds.

    `made` is the record of the run, the model's included; what training took is added.
    """
    save(tuned.model, made["model"], folder)
    write_rows(folder / "training.parquet", map(asdict, tuned.history), TRAINING)
    trained, parameters = tuned.model.get_nb_trainable_parameters()
    told = {"tokens": tuned.tokens, "tuned_parameters": trained, "parameters": parameters}
    files = {name: file_hash(folder / name) for name in ADAPTER_FILES}
    whole = {**made, **told, "files": files}
    write_json(folder / "run.json", whole)
    return whole
