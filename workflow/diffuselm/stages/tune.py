"""Stage `tune`: train one LoRA adapter of one model on the prompts of one tuning."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from diffuselm import contracts
from diffuselm.encoding import encode_prompts
from diffuselm.models import load_chat_format, load_model, pick_device
from diffuselm.provenance import file_hash, read_json, run_record, write_json
from diffuselm.seeds import derive
from diffuselm.tune import Hyperparameters, tune


def run(
    *,
    model_record: Path,
    tuning: str,
    prompts: Sequence[str],
    start: Path | None,
    tasks: Sequence[Path],
    targets: Sequence[Path],
    settings: Hyperparameters,
    dtype: str,
    leading_space: bool,
    seed: int,
    out: Path,
) -> None:
    """Write the adapter folder: a plain PEFT adapter, training.parquet and run.json.

    `start` is the folder of the adapter that is trained further, if any.
    """
    record = read_json(model_record)
    folder = Path(record["path"])
    model = load_model(folder, dtype=dtype, device=pick_device(record["stand_in"]))
    chat = load_chat_format(folder, model, leading_space=leading_space)
    encoded = encode_prompts(chat, tasks, targets, prompts)
    own_seed = derive(seed, "tune", record["model"], tuning)
    tuned, history = tune(model, encoded, settings, own_seed, start)
    made = run_record(
        settings={**asdict(settings), "tuning": tuning, "prompts": [p.id for p in encoded],
                  "start_sha256": start and file_hash(start / "adapter_model.safetensors"),
                  "dtype": dtype, "leading_space": leading_space},
        seed=seed,
        model=record,
        device=str(model.device),
    )  # fmt: skip
    parameters = list(tuned.parameters())
    made["parameters"] = sum(p.numel() for p in parameters)
    made["tuned_parameters"] = sum(p.numel() for p in parameters if p.requires_grad)
    with contracts.written_folder(out) as part:
        tuned.save_pretrained(part, safe_serialization=True)
        (part / "README.md").unlink(missing_ok=True)  # PEFT's template of a model card, not filled
        contracts.write_rows(part / "training.parquet", map(asdict, history), contracts.TRAINING)
        write_json(part / "run.json", made)
