"""PEFT adapters on their base model: opened to be used, or to be trained further."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from transformers import PreTrainedModel

from diffuselm.errors import InputError, first_line
from diffuselm.files.json_files import read_json
from diffuselm.files.provenance import file_hash
from diffuselm.model.folders import check_files, check_finite
from diffuselm.model.virtual_tokens import with_virtual_tokens

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")


def adapter_hash(folder: Path | None) -> str | None:
    """SHA-256 of an adapter's weights; None without an adapter."""
    return folder and file_hash(folder / ADAPTER_FILES[0])


def load_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Put a PEFT adapter on its base model.

    Merged into float32 weights, where that costs no precision and halves the small products.
    """
    tuned = open_adapter(model, folder)
    if tuned.active_peft_config.is_prompt_learning:
        return answering(tuned).eval()
    exact = model.dtype == torch.float32 and not getattr(model, "is_quantized", False)
    return tuned.merge_and_unload() if exact else tuned.eval()


def answering(tuned: PeftModel) -> PreTrainedModel:
    """What takes tree masks and shared prompts: of virtual tokens, the base model with these."""
    return with_virtual_tokens(tuned) if tuned.active_peft_config.is_prompt_learning else tuned


def open_adapter(model: PreTrainedModel, folder: Path, *, trainable: bool = False) -> PeftModel:
    """Load a PEFT adapter around its base model, to use it or to train it further.

    Raises InputError where its files are not those that its run.json names.
    """
    run = folder / "run.json"
    if run.is_file() and isinstance(files := read_json(run).get("files"), dict):
        check_files(folder, files)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Found missing adapter keys")
            tuned = PeftModel.from_pretrained(
                model, folder, is_trainable=trainable, torch_device=str(model.device)
            )
    except Exception as error:  # PEFT has many for what a damaged folder may hold
        raise InputError(
            f"{folder}: not a usable adapter ({first_line(error)}); expected a whole PEFT adapter "
            "of this model"
        ) from error
    check_finite(folder, get_peft_model_state_dict(tuned).items())
    return tuned


def check_base(adapter: Path, record: Mapping[str, Any], record_path: Path) -> None:
    """Raise InputError where an adapter's run.json, if it has one, names another base model."""
    run = adapter / "run.json"
    tuned = read_json(run).get("model") if run.is_file() else None
    if isinstance(tuned, dict) and tuned.get("files") != record["files"]:
        raise InputError(
            f"{adapter}: was tuned on {tuned.get('model')}, with files of other SHA-256; "
            f"expected an adapter of {record_path.stem}"
        )
