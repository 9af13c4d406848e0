"""The tokenizer of a GGUF file: words split as its vocabulary was learned, and how turns end."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

log = logging.getLogger(__name__)

# As llama.cpp splits them: each digit alone, then as GPT-2. transformers leave the digits together.
DIGITS_ALONE = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
KNOWN = {*GGUF_PRE_TOKENIZER_SPLITS, "gpt-2", "mpt", "olmo", "jais", "trillion"}
# llama.cpp ends an answer at these too, whichever of them the file names.
TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>")


def load_tokenizer(source: Path, metadata: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """The file's tokenizer, its chat template included."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(
        source.parent, gguf_file=source.name, trust_remote_code=False, local_files_only=True
    )
    inner, split = tokenizer.backend_tokenizer, metadata.get("tokenizer.ggml.pre")
    gemma = str(metadata["general.architecture"]).startswith("gemma")
    if metadata.get("tokenizer.ggml.model") == "llama" and not gemma:
        # A space before each stretch of plain text, where transformers put it before the first.
        prefix = metadata.get("tokenizer.ggml.add_space_prefix", True)
        spaces = normalizers.Replace(" ", "▁")
        inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁")] * prefix + [spaces])
        inner.pre_tokenizer = None
    elif split in DIGITS_ALONE:
        inner.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
    elif metadata.get("tokenizer.ggml.model") == "gpt2" and split not in KNOWN:
        log.warning("%s: words are split as in GPT-2, not as its pre-tokenizer %r says, which is "
                    "not known here: rare texts may get other tokens", source, split)  # fmt: skip
    return tokenizer


def end_tokens(tokenizer: PreTrainedTokenizerBase, metadata: Mapping[str, Any]) -> list[int]:
    """Ids of the tokens that end an answer, the end of sequence first; none where none is told."""
    told = [metadata.get(f"tokenizer.ggml.{key}_token_id") for key in ("eos", "eot", "eom")]
    special = {str(t): id for id, t in tokenizer.added_tokens_decoder.items() if t.special}
    named = [special.get(token) for token in TURN_ENDS]
    return [id for id in dict.fromkeys([*told, *named]) if id is not None]
