"""A GGUF file to a plain model folder: float32 safetensors, config, tokenizer, chat template."""

import shutil
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    GgufConfig,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from diffuselm.errors import InputError
from diffuselm.files.contracts import written_folder
from diffuselm.model.gguf_files import Header, read_header
from diffuselm.model.gguf_tokenizers import end_tokens, load_tokenizer

ROPE_FACTORS = "rope_freqs.weight"
# What Llama 3.1 to 3.3 have in common; a file holds but the factors that follow from it.
LLAMA_3_ROPE = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192}  # fmt: skip


def convert(source: Path, out: Path) -> None:
    """Write the model folder of a GGUF file, whole or not at all.

    Raises InputError for a file that is none, cut short, of an architecture or a quantisation that
    transformers do not read, or one of whose weights they would drop, and where the disk is full.
    """
    disable_progress_bar()
    set_verbosity_error()
    header = read_header(source)
    _check_weights(source, header)
    try:
        config = AutoConfig.from_pretrained(
            source.parent, gguf_file=source.name, trust_remote_code=False, local_files_only=True
        )
        _set_head_size(config, header)
        _set_rope(config, source, header)
        with torch.device("meta"):
            plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        tokenizer = load_tokenizer(source, header.metadata)
    except InputError:
        raise
    except Exception as error:  # transformers have many for what a file may hold
        raise _unreadable(source, header, error) from error
    _check_all_have_a_place(source, header, plain)
    _check_room(out, 4 * plain.num_parameters())
    plain.generation_config = GenerationConfig(
        bos_token_id=header.metadata.get("tokenizer.ggml.bos_token_id"),
        eos_token_id=end_tokens(tokenizer, header.metadata) or None,
        pad_token_id=header.metadata.get("tokenizer.ggml.padding_token_id"),
    )
    with written_folder(out) as part:
        _fill(plain, source, header)
        plain.save_pretrained(part, max_shard_size="1000TB")
        tokenizer.save_pretrained(part)


def _check_weights(source: Path, header: Header) -> None:
    """Raise InputError where a quantisation is unknown, or the file ends too early."""
    sizes = {tensor.kind: _block(source, tensor.kind) for tensor in header.tensors.values()}
    present = source.stat().st_size
    for name, tensor in header.tensors.items():
        per_block, block_bytes = sizes[tensor.kind]
        if tensor.start + tensor.elements // per_block * block_bytes > present:
            raise InputError(f"{source}: cut short before {name} ends; expected a whole GGUF file")


def _block(source: Path, kind: int) -> tuple[int, int]:
    """Weights and bytes of one block of a quantisation that can be read."""
    try:
        quantisation = gguf.GGMLQuantizationType(kind)
        size = gguf.GGML_QUANT_SIZES[quantisation]
        gguf.dequantize(np.zeros(size[1], np.uint8), quantisation)
    except (ValueError, NotImplementedError) as error:
        raise InputError(
            f"{source}: a quantisation that cannot be read ({error}); expected a usual one, such "
            "as Q4_K_M, Q8_0 or F16"
        ) from error
    return size


def _set_head_size(config: PreTrainedConfig, header: Header) -> None:
    """Set what transformers take from a class's default, for Qwen 3."""
    size = header.metadata.get(f"{header.architecture}.attention.key_length")
    if size is not None and hasattr(config, "head_dim"):
        config.head_dim = size


def _set_rope(config: PreTrainedConfig, source: Path, header: Header) -> None:
    """Set Llama 3's stretched rotary embedding: transformers leave its factors behind.

    Raises InputError for any other scaling.
    """
    scaling = header.metadata.get(f"{header.architecture}.rope.scaling.type", "none")
    factors = header.tensors.get(ROPE_FACTORS)
    if scaling == "none" and factors is None:
        return
    if scaling == "none" and factors.kind == gguf.GGMLQuantizationType.F32:
        told = np.fromfile(source, np.float32, factors.elements, offset=factors.start)
        config.rope_parameters |= LLAMA_3_ROPE | {"factor": float(told.max())}
        scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
        steps = torch.arange(len(scaled)) / len(scaled)
        plain = config.rope_parameters["rope_theta"] ** -steps
        if len(scaled) == len(told) and np.allclose(plain / scaled, told, rtol=1e-3):
            return
    raise InputError(
        f"{source}: its rotary embedding is scaled in a way that transformers leave behind "
        f"({ROPE_FACTORS if scaling == 'none' else scaling}); expected the model as a folder of "
        "safetensors"
    )


def _check_all_have_a_place(source: Path, header: Header, plain: PreTrainedModel) -> None:
    """Raise InputError where the file holds more weights than the model, or fewer.

    Transformers would pass over them in silence: a bias that their class lacks, scaling factors.
    """
    tied = plain.config.tie_word_embeddings
    left = {ROPE_FACTORS, *(["output.weight"] if tied else [])}
    held = sum(tensor.elements for name, tensor in header.tensors.items() if name not in left)
    if held != plain.num_parameters():
        raise InputError(
            f"{source}: holds {held} weights where {type(plain).__name__} has "
            f"{plain.num_parameters()}; expected a variant of {header.architecture} that "
            "transformers have, or the model as a folder of safetensors"
        )


def _check_room(out: Path, needed: int) -> None:
    """Raise InputError where the disk is too full for this many bytes."""
    there = next(folder for folder in out.absolute().parents if folder.exists())
    if needed > (free := shutil.disk_usage(there).free):
        raise InputError(
            f"{out}: {needed / 1e9:.3f} GB of weights, and {free / 1e9:.3f} GB free; expected room "
            "on its disk: free some, then run again"
        )


def _fill(plain: PreTrainedModel, source: Path, header: Header) -> None:
    """Put the dequantised weights into a model without any."""
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            source.parent,
            gguf_file=source.name,
            config=plain.config,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
            output_loading_info=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except Exception as error:  # the same
        raise _unreadable(source, header, error) from error
    if absent := found["missing_keys"] or found["mismatched_keys"]:
        raise _unreadable(source, header, ValueError(f"no {min(absent)}, or of another shape"))
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()


def _unreadable(source: Path, header: Header, error: Exception) -> InputError:
    found = " ".join(str(error).split()) or type(error).__name__
    return InputError(
        f"{source}: {header.architecture} cannot be read ({found}); expected an architecture that "
        "transformers read from GGUF files"
    )
