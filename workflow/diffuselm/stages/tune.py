"""Stage `tune`: train one LoRA adapter of one model on the prompts of one tuning."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from peft import PeftModel

from diffuselm.files import contracts
from diffuselm.files.provenance import content_hash, file_hash, run_record, write_json
from diffuselm.files.resume import only_one
from diffuselm.files.seeds import derive
from diffuselm.model.encoding import encode_prompts
from diffuselm.model.opening import ADAPTER_FILES, open_model
from diffuselm.plan.fingerprint import fingerprint
from diffuselm.tasks.prompt_files import task_inputs
from diffuselm.tuning.loop import Hyperparameters, tune


def run(
    *,
    model_record: Path,
    tuning: str,
    prompts: Sequence[str],
    start: Path | None,
    tasks: Sequence[Path],
    targets: Sequence[Path],
    settings: Hyperparameters,
    seed: int,
    checkpoint: Path,
    checkpoint_seconds: float,
    out: Path,
) -> None:
    """Write the adapter folder: a plain PEFT adapter, training.parquet and run.json.

    `start` is the folder of the adapter that is trained further, if any. Every
    `checkpoint_seconds` the training is saved in `checkpoint`, from where it goes on if this
    process is killed; the file is gone at the end.
    """
    with only_one(checkpoint):
        opened = open_model(model_record)
        encoded = encode_prompts(opened.chat, tasks, targets, prompts)
        described = {
            **asdict(settings),
            "tuning": tuning,
            "prompts": [prompt.id for prompt in encoded],
            "start_sha256": start and file_hash(start / ADAPTER_FILES[0]),
            **opened.used,
        }
        files = [file_hash(file) for file in (*targets, *chain(*map(task_inputs, tasks)))]
        tuned = tune(
            opened.model,
            encoded,
            settings,
            derive(seed, "tune", opened.name, tuning),
            start,
            checkpoint=checkpoint,
            key=content_hash(
                [described, opened.identity, files, seed, fingerprint("tree", "model", "tuning")]
            ),
            every=checkpoint_seconds,
        )
        made = run_record(
            settings={**described, "token_budget": tuned.token_budget},
            seed=seed,
            model=opened.record,
            device=str(opened.model.device),
        )
        made["tokens"] = tuned.tokens
        made["tuned_parameters"], made["parameters"] = tuned.model.get_nb_trainable_parameters()
        with contracts.written_folder(out) as part:
            _save(tuned.model, opened.record, part)
            rows = map(asdict, tuned.history)
            contracts.write_rows(part / "training.parquet", rows, contracts.TRAINING)
            made["files"] = {name: file_hash(part / name) for name in ADAPTER_FILES}
            write_json(part / "run.json", made)
        contracts.remove(checkpoint)


def _save(tuned: PeftModel, record: dict[str, Any], folder: Path) -> None:
    """As PEFT saves it, and naming the base model so that it can be found again."""
    config = tuned.peft_config["default"]
    config.base_model_name_or_path = record["hub"] or record["path"]
    config.revision = record["revision"]
    config.target_modules = sorted(config.target_modules)  # a set, of another order at each run
    tuned.save_pretrained(folder, safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's template of a model card, not filled
