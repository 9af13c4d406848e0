"""The adapter that a tuning trains: how it is begun, and how it is saved."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel

from diffuselm.config.tune import LoraSettings
from diffuselm.methods.training import Training
from diffuselm.model.adapters import open_adapter


def adapter_on(
    base: PreTrainedModel, settings: LoraSettings, start: Path | None, method: Training
) -> PeftModel:
    """A new adapter of a method on the base model, or the one in `start` to train further.

    Raises InputError for a module that the model lacks, and for a `start` that is no adapter.
    """
    if start is not None:
        return open_adapter(base, start, trainable=True)
    return method.adapter(base, settings)


def save(tuned: PeftModel, record: Mapping[str, Any], folder: Path) -> None:
    """As PEFT saves it, and naming the base model of the record so that it can be found again."""
    config = tuned.peft_config["default"]
    config.base_model_name_or_path = record["hub"] or record["path"]
    config.revision = record["revision"]
    for names in ("target_modules", "modules_to_save"):
        if isinstance(found := getattr(config, names, None), set):
            setattr(config, names, sorted(found))  # a set has another order at each run
    tuned.save_pretrained(folder, safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's template of a model card, not filled
