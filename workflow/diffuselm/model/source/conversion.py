"""A GGUF file to a plain model folder: float32 safetensors, config, tokenizer, chat template."""

import shutil
from pathlib import Path

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    GgufConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from diffuselm.errors import InputError
from diffuselm.files.json_files import write_json
from diffuselm.files.provenance import file_hash
from diffuselm.files.whole import written_folder
from diffuselm.model.source.gguf_files import Header, read_header
from diffuselm.model.source.gguf_tokenizers import end_tokens, load_tokenizer

ROPE_FACTORS = "rope_freqs.weight"
# What Llama 3.1 to 3.3 have in common; a file holds only the factors that follow from it.
LLAMA_3_ROPE = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192}  # fmt: skip


def convert(*, name: str, gguf: Path, folder: Path, out: Path) -> None:
    """Write the model folder of a GGUF file, whole or not at all, and the record of its source.

    Raises InputError for a file that transformers would not read, or not all of, and where the disk
    is full.
    """
    disable_progress_bar()
    set_verbosity_error()
    header = read_header(gguf)
    _check_weights(gguf, header)
    try:
        plain, tokenizer = _read(gguf, header)
        _check_all_have_a_place(gguf, header, plain)
        _check_room(folder, 4 * plain.num_parameters())
        _fill(plain, gguf)
    except InputError:
        raise
    except Exception as error:  # transformers raises many kinds for what a file may hold
        found = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{gguf}: {header.architecture} cannot be read ({found}); expected an architecture "
            "that transformers reads from GGUF files"
        ) from error
    plain.generation_config = GenerationConfig(
        bos_token_id=header.metadata.get("tokenizer.ggml.bos_token_id"),
        eos_token_id=end_tokens(tokenizer, header.metadata) or None,
        pad_token_id=header.metadata.get("tokenizer.ggml.padding_token_id"),
    )
    with written_folder(folder) as unfinished:
        plain.save_pretrained(unfinished, max_shard_size="1000TB")
        tokenizer.save_pretrained(unfinished)
    source = {"file": gguf.name, "sha256": file_hash(gguf)}
    write_json(out, {"model": name, "path": str(folder), "source": source})


def _check_weights(gguf: Path, header: Header) -> None:
    present = gguf.stat().st_size
    for name, tensor in header.tensors.items():
        per_block, block_bytes = _block(gguf, tensor.kind)
        if tensor.start + tensor.elements // per_block * block_bytes > present:
            raise InputError(f"{gguf}: cut short before {name} ends; expected a whole GGUF file")


def _block(gguf: Path, kind: int) -> tuple[int, int]:
    """Weights and bytes of one block of a quantisation that can be read."""
    try:
        size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        dequantize(np.zeros(size[1], np.uint8), GGMLQuantizationType(kind))
    except (ValueError, NotImplementedError) as error:
        raise InputError(
            f"{gguf}: a quantisation that cannot be read ({error}); expected a usual one, such "
            "as Q4_K_M, Q8_0 or F16"
        ) from error
    return size


def _read(gguf: Path, header: Header) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model without any weights, and the tokenizer."""
    config = AutoConfig.from_pretrained(
        gguf.parent, gguf_file=gguf.name, trust_remote_code=False, local_files_only=True
    )
    # For Qwen 3, transformers takes the head size from the class's default.
    size = header.metadata.get(f"{header.architecture}.attention.key_length")
    if size is not None and hasattr(config, "head_dim"):
        config.head_dim = size
    _set_rope(config, gguf, header)
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return plain, load_tokenizer(gguf, header.metadata)


def _set_rope(config: PreTrainedConfig, gguf: Path, header: Header) -> None:
    """Set Llama 3's stretched rotary embedding, whose factors transformers leaves behind.

    Raises InputError for any other scaling.
    """
    scaling = header.metadata.get(f"{header.architecture}.rope.scaling.type", "none")
    factors = header.tensors.get(ROPE_FACTORS)
    if scaling == "none" and factors is None:
        return
    if scaling == "none" and factors.kind == GGMLQuantizationType.F32:
        stored = np.fromfile(gguf, np.float32, factors.elements, offset=factors.start)
        config.rope_parameters |= LLAMA_3_ROPE | {"factor": float(stored.max())}
        scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
        steps = torch.arange(len(scaled)) / len(scaled)
        plain = config.rope_parameters["rope_theta"] ** -steps
        if len(scaled) == len(stored) and np.allclose(plain / scaled, stored, rtol=1e-3):
            return
    raise InputError(
        f"{gguf}: its rotary embedding is scaled in a way that transformers leaves behind "
        f"({ROPE_FACTORS if scaling == 'none' else scaling}); expected the model as a folder of "
        "safetensors"
    )


def _check_all_have_a_place(gguf: Path, header: Header, plain: PreTrainedModel) -> None:
    """Raise InputError where the file holds more weights than the model, or fewer.

    transformers would skip them silently: a bias that its class lacks, scaling factors.
    """
    tied = plain.config.tie_word_embeddings
    left = {ROPE_FACTORS, *(["output.weight"] if tied else [])}
    held = sum(tensor.elements for name, tensor in header.tensors.items() if name not in left)
    if held != plain.num_parameters():
        raise InputError(
            f"{gguf}: holds {held} weights where {type(plain).__name__} has "
            f"{plain.num_parameters()}; expected a variant of {header.architecture} that "
            "transformers has, or the model as a folder of safetensors"
        )


def _check_room(folder: Path, needed: int) -> None:
    there = next(above for above in folder.absolute().parents if above.exists())
    if needed > (free := shutil.disk_usage(there).free):
        raise InputError(
            f"{folder}: {needed / 1e9:.3f} GB of weights, and {free / 1e9:.3f} GB free; expected "
            "room on its disk: free some, then run again"
        )


def _fill(plain: PreTrainedModel, gguf: Path) -> None:
    model, found = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        config=plain.config,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
        output_loading_info=True,
        trust_remote_code=False,
        local_files_only=True,
    )
    if absent := found["missing_keys"] or found["mismatched_keys"]:
        raise ValueError(f"no {min(absent)}, or of another shape")
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
