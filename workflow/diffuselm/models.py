"""Loading a base model, its chat format, and an adapter on top of it."""

from pathlib import Path

import torch
from peft import PeftModel
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from diffuselm.chat import ChatFormat
from diffuselm.errors import InputError


def load_model(folder: Path, *, dtype: str, device: str) -> PreTrainedModel:
    """Load the base model of a local folder, from safetensors alone, in evaluation mode."""
    disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{folder}: cannot be loaded ({_first_line(error)})") from error
    return model.to(device).eval()


def load_chat_format(folder: Path, model: PreTrainedModel, *, leading_space: bool) -> ChatFormat:
    """Load the tokenizer of a local folder; end tokens are those of the generation config."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: no usable tokenizer ({_first_line(error)})") from error
    ends = model.generation_config.eos_token_id
    if ends is None:
        raise InputError(f"{folder}/generation_config.json: eos_token_id is missing")
    return ChatFormat(tokenizer, tuple(ends) if isinstance(ends, list) else (ends,), leading_space)


def load_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Put a PEFT adapter on its base model.

    Merged into float32 weights, where that costs no precision and halves the small products.
    """
    tuned = open_adapter(model, folder)
    return tuned.merge_and_unload() if model.dtype == torch.float32 else tuned


def open_adapter(model: PreTrainedModel, folder: Path, *, trainable: bool = False) -> PeftModel:
    """Load a PEFT adapter around its base model, to use it or to train it further."""
    try:
        return PeftModel.from_pretrained(model, folder, is_trainable=trainable)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder}: not a usable adapter ({_first_line(error)})") from error


def pick_device(stand_in: bool) -> str:
    """The GPU where there is one; a stand-in is quicker on the CPU."""
    return "cuda" if torch.cuda.is_available() and not stand_in else "cpu"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
