"""The LoRA adapter that a tuning trains: how it is begun, and how it is saved."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peft import PeftModel, get_peft_model
from transformers import PreTrainedModel

from diffuselm.config.tune import LoraSettings
from diffuselm.errors import InputError
from diffuselm.methods.training import Training
from diffuselm.model.adapters import open_adapter


def adapter_on(
    base: PreTrainedModel, settings: LoraSettings, start: Path | None, method: Training
) -> PeftModel:
    """A new adapter of a method on the base model, or the one in `start` to train further.

    Raises InputError for a module that the model lacks, and for a `start` that is no adapter.
    """
    _check_modules(base, settings.target_modules)
    if start is not None:
        return open_adapter(base, start, trainable=True)
    return get_peft_model(base, method.peft_config(settings, base))


def save(tuned: PeftModel, record: Mapping[str, Any], folder: Path) -> None:
    """As PEFT saves it, and naming the base model of the record so that it can be found again."""
    config = tuned.peft_config["default"]
    config.base_model_name_or_path = record["hub"] or record["path"]
    config.revision = record["revision"]
    config.target_modules = sorted(config.target_modules)  # a set, of another order at each run
    tuned.save_pretrained(folder, safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's template of a model card, not filled


def _check_modules(model: PreTrainedModel, wanted: Sequence[str]) -> None:
    """PEFT would skip a module that is missing silently."""
    present = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    if absent := [module for module in wanted if module not in present]:
        raise InputError(
            f"tune.target_modules: {type(model).__name__} has no {', '.join(absent)}; expected "
            f"modules among {', '.join(sorted(name for name in present if 'proj' in name))}"
        )
