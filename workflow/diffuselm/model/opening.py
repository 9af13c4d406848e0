"""Opening a base model as its record says: weights, chat format, and an adapter on top."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.quantizers.auto import AutoHfQuantizer
from transformers.utils.logging import (
    disable_progress_bar,
    get_verbosity,
    set_verbosity,
    set_verbosity_error,
)

from diffuselm.errors import InputError, first_line
from diffuselm.files.devices import pick_devices
from diffuselm.files.json_files import read_json
from diffuselm.model.adapters import check_base, load_adapter
from diffuselm.model.chat import ChatFormat
from diffuselm.model.folders import check_finite, check_tokenizer_config

log = logging.getLogger(__name__)

# What of a record's settings decides how weights are loaded, and how the model is asked.
LOADING = ("dtype", "four_bit", "attention", "device_map")
ASKING = ("end_tokens", "chat_template", "template_args", "leading_space")


@dataclass(frozen=True)
class OpenModel:
    """A model that answers: its record, its weights (an adapter's included) and its chat format."""

    record: Mapping[str, Any]
    model: PreTrainedModel
    chat: ChatFormat

    @property
    def name(self) -> str:
        """The name that results carry."""
        return self.record["model"]

    @property
    def identity(self) -> dict[str, Any]:
        """What of the record decides an answer: not where it is computed, or how it is shown."""
        placed = {"gpus", "device_map"}
        kept = {k: v for k, v in self.record["settings"].items() if k not in placed}
        return {"files": self.record["files"], "settings": kept, **self.used}

    @property
    def used(self) -> dict[str, Any]:
        """What the record leaves to the machine, as it was decided here."""
        return {"dtype": str(self.model.dtype).removeprefix("torch."),
                "end_tokens": list(self.chat.end_tokens)}  # fmt: skip


def open_model(record_path: Path, adapter: Path | None = None) -> OpenModel:
    """Open the model of a record (stage `record`), on a GPU of its own where there is one.

    Raises InputError for whatever of it is missing, damaged or does not fit together.
    """
    record = read_json(record_path)
    if absent := {"model", "path", "settings", "files"} - set(record):
        raise InputError(
            f"{record_path}: no {min(absent)!r}; expected the record of a model (stage record)"
        )
    if adapter is not None:
        check_base(adapter, record, record_path)
    settings, folder = record["settings"], Path(record["path"])
    if not folder.is_dir():
        raise InputError(
            f"{record_path}: no folder {folder}; expected the model that was there when the record "
            "was made: run `snakemake -R download record` again"
        )
    devices = pick_devices(record["stand_in"] or not settings["gpus"], settings["gpus"])
    loading = {key: settings[key] for key in LOADING}
    model = load_model(folder, device=devices[0], spread_over=devices, **loading)
    ends = model.generation_config.eos_token_id
    chat = load_chat_format(folder, ends, **{key: settings[key] for key in ASKING})
    answering = model if adapter is None else load_adapter(model, adapter)
    _check_logits(answering, chat, adapter or folder)
    return OpenModel(record, answering, chat)


def _check_logits(model: PreTrainedModel, chat: ChatFormat, folder: Path) -> None:
    """Raise InputError where a model of finite weights gives no probabilities, by a short pass."""
    read = torch.tensor([chat.prompt_ids("Name a color.")], device=model.device)
    with torch.no_grad():
        log_probs = model(input_ids=read, use_cache=False).logits.float().log_softmax(-1)
    if log_probs.isnan().any():
        dtype = str(model.dtype).removeprefix("torch.")
        raise InputError(
            f"{folder}: logits are not finite in {dtype}; expected finite ones: try another dtype"
        )


def load_model(
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: str | None = None,
    four_bit: bool = False,
    attention: str | None = None,
    device_map: str | None = None,
    spread_over: Sequence[torch.device] = (),
) -> PreTrainedModel:
    """Load the base model of a local folder, from safetensors alone, in evaluation mode.

    On `device`, or over several GPUs as `device_map` says. Without a `dtype`: bfloat16 on a GPU,
    float32 on a CPU. Raises InputError where the folder is damaged or lacks weights.
    """
    on_gpu = torch.device(device).type == "cuda"
    dtype = dtype or ("bfloat16" if on_gpu else "float32")
    placed = _placed(device, device_map, spread_over) if on_gpu else {}
    if four_bit:
        placed["quantization_config"] = _four_bit(dtype)
    disable_progress_bar()
    usual = get_verbosity()
    set_verbosity_error()  # its report takes many lines
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # to report them here
            **placed,
        )
    except Exception as error:  # transformers have many for what a damaged folder may hold
        raise InputError(
            f"{folder}: cannot be loaded ({first_line(error)}); expected a whole model of a class "
            "that transformers have, in safetensors"
        ) from error
    finally:
        set_verbosity(usual)
    _check_weights(folder, found, type(model).__name__)
    check_finite(folder, model.named_parameters())
    return model.eval()


def _placed(
    device: torch.device | str, device_map: str | None, spread_over: Sequence[torch.device]
) -> dict[str, Any]:
    """Where weights go: to one GPU, or over several, most of whose free memory they may take."""
    if device_map is None:
        return {"device_map": {"": device}}
    free = {each.index: torch.cuda.mem_get_info(each)[0] for each in spread_over}
    # The rest is for keys, values and activations.
    room = {index: size * 8 // 10 for index, size in free.items()}
    return {"device_map": device_map, "max_memory": room}


def _check_weights(folder: Path, found: Mapping[str, Any], expected_by: str) -> None:
    """Raise InputError where the weights lack a tensor or have one of another shape."""
    if found["mismatched_keys"]:
        key, stored, expected = min(found["mismatched_keys"])
        raise InputError(
            f"{folder}: the weights' {key} is {list(stored)}; expected {list(expected)}, as "
            "config.json says"
        )
    if found["unexpected_keys"]:
        log.warning("%s: config.json has no place for %s (of %d)", folder,
                    min(found["unexpected_keys"]), len(found["unexpected_keys"]))  # fmt: skip
    if found["missing_keys"]:
        raise InputError(
            f"{folder}: the weights lack {min(found['missing_keys'])} (of "
            f"{len(found['missing_keys'])}); expected all that {expected_by} has"
        )


def check_four_bit() -> None:
    """Raise InputError where the library of weights in 4 bits is not installed."""
    if find_spec("bitsandbytes") is None:
        raise InputError(
            "four_bit: bitsandbytes is not installed; expected it: `pip install bitsandbytes`"
        )


def check_quantized(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise InputError where no library here reads weights as config.json describes them."""
    quantized = config.get("quantization_config")
    if quantized is None:
        return
    try:
        AutoHfQuantizer.from_config(quantized, pre_quantized=True).validate_environment()
    except RuntimeError:
        pass  # it wants a GPU, which the jobs have
    except Exception as error:  # each has its own for what it lacks
        raise InputError(
            f"{folder}/config.json: quantization_config: {first_line(error)}; expected a kind of "
            "weights whose library is installed"
        ) from error


def _four_bit(dtype: str) -> BitsAndBytesConfig:
    check_four_bit()
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )


def load_chat_format(
    folder: Path,
    ends: int | list[int] | None,
    *,
    end_tokens: list[str] | None = None,
    chat_template: str | None = None,
    template_args: Mapping[str, Any] | None = None,
    leading_space: bool | None = None,
) -> ChatFormat:
    """Load the tokenizer of a local folder.

    `ends`, the ids that its generation config has as end tokens, count where `end_tokens` names
    none.
    """
    check_tokenizer_config(folder)
    # As tokenizer.json says, to the letter: a class of its own may take liberties with it.
    published = (folder / "tokenizer.json").is_file()
    kind = PreTrainedTokenizerFast if published else AutoTokenizer
    try:
        tokenizer = kind.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # the same
        raise InputError(
            f"{folder}: no usable tokenizer ({first_line(error)}); expected a whole one"
        ) from error
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    if end_tokens is None:
        ids = _generation_ends(folder, ends, len(tokenizer))
    else:
        ids = _named_ends(folder, tokenizer, end_tokens)
    return ChatFormat(tokenizer, ids, leading_space, dict(template_args or {}))


def _generation_ends(folder: Path, ends: int | list[int] | None, size: int) -> tuple[int, ...]:
    """The end tokens of the generation config, ids below `size`."""
    if ends is None:
        raise InputError(
            f"{folder}/generation_config.json: no eos_token_id; expected the token that ends an "
            "answer, there or under the model's end_tokens"
        )
    ids = tuple(ends) if isinstance(ends, list) else (ends,)
    if not ids or not all(type(id) is int and 0 <= id < size for id in ids):
        raise InputError(
            f"{folder}/generation_config.json: eos_token_id is {ends!r}; expected ids of 0 to "
            f"{size - 1}"
        )
    return ids


def _named_ends(
    folder: Path, tokenizer: PreTrainedTokenizerBase, names: Sequence[str]
) -> tuple[int, ...]:
    known = tokenizer.get_vocab()
    if strangers := [token for token in names if token not in known]:
        raise InputError(
            f"{folder}: end_tokens: the tokenizer has no token {strangers[0]!r}; expected some "
            "that it has"
        )
    return tuple(known[token] for token in names)
