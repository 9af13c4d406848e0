"""GGUF files that tests write from small models, the way llama.cpp's converter writes them."""

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

ARCHITECTURES = {
    "Llama": "llama",
    "Qwen 2": "qwen2",
    "Qwen 3": "qwen3",
    "Gemma 2": "gemma2",
    "Gemma 3": "gemma3",
}
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTROL = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
TEXTS = (
    "In 1984 it's 12 days, 365 nights  and 7 years; they've {7} or {42}\n\nnames: Ann, Bob, Zoë.",
    "Generate a random number between 1 and 100. Output only the number between curly braces.",
    "What's  the 2nd day of the week?\n\tMonday, Tuesday, Wednesday. Don't say THIRTY-ONE 31 3.14",
)
QWEN_2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_level_tokenizer(split) -> Tokenizer:
    """A byte-level tokenizer learned on words as `split` cuts them."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    return _learn(tokenizer, pre_tokenizers.ByteLevel.alphabet())


def split_of(pre: str):
    """How the model family that llama.cpp calls `pre` cuts a text into words."""
    if pre == "smollm":
        first = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([first, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    first = pre_tokenizers.Split(Regex(QWEN_2), behavior="isolated")
    rest = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([first, rest])


def gemma_tokenizer() -> Tokenizer:
    """SentencePiece as Gemma's: spaces as U+2581, unknown characters as bytes."""
    tokenizer = Tokenizer(BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return _learn(tokenizer, [])


def _learn(tokenizer: Tokenizer, alphabet: list[str]) -> Tokenizer:
    octets = [] if alphabet else [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = BpeTrainer(
        vocab_size=512,
        special_tokens=[*CONTROL, *octets],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator([*TEXTS, *(f"{text} {text}" for text in TEXTS)] * 3, trainer)
    return tokenizer


def round_weights(model, kind: GGMLQuantizationType) -> None:
    """Give a model the weights that are left of its matrices in a quantisation."""
    for parameter in model.parameters():
        if parameter.ndim == 2:
            stored = gguf.quantize(parameter.detach().numpy(), kind)
            parameter.data = torch.from_numpy(gguf.dequantize(stored, kind).copy())


def write_gguf(
    path: Path,
    model,
    tokenizer: Tokenizer,
    *,
    architecture: str,
    kind: GGMLQuantizationType = GGMLQuantizationType.F32,
    pre: str | None = None,
    template: str | None = TEMPLATE,
    end: str | None = "</s>",
    further: dict[str, np.ndarray] | None = None,
) -> Path:
    """Write a model and its tokenizer as one GGUF file; `further` are tensors beside its own."""
    writer = GGUFWriter(path, architecture)
    config = model.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_rope_dimension_count(head)
    writer.add_key_length(head)
    if architecture.startswith("gemma"):
        writer.add_sliding_window(config.sliding_window)
    _add_tokenizer(writer, tokenizer, pre)
    if template is not None:
        writer.add_chat_template(template)
    if end is not None:
        writer.add_eos_token_id(tokenizer.token_to_id(end))
    _add_weights(writer, model, architecture, kind)
    for name, values in (further or {}).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_sentencepiece(path: Path, pieces) -> Path:
    """Write the vocabulary of a SentencePiece model as one GGUF file, without weights."""
    ids = range(pieces.get_piece_size())
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list([pieces.id_to_piece(id) for id in ids])
    writer.add_token_scores([pieces.get_score(id) for id in ids])
    control, octet = pieces.is_control, pieces.is_byte
    writer.add_token_types(
        [TokenType.CONTROL if control(id) else TokenType.BYTE if octet(id) else TokenType.NORMAL
         for id in ids]
    )  # fmt: skip
    writer.add_bos_token_id(pieces.bos_id())
    writer.add_eos_token_id(pieces.eos_id())
    writer.add_unk_token_id(pieces.unk_id())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: GGUFWriter, tokenizer: Tokenizer, pre: str | None) -> None:
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.get)
    kinds = [TokenType.CONTROL if token in CONTROL else TokenType.NORMAL for token in tokens]
    writer.add_vocab_size(len(tokens))
    writer.add_token_list(tokens)
    writer.add_bos_token_id(vocabulary["<s>"])
    writer.add_unk_token_id(vocabulary["<unk>"])
    if pre is None:
        writer.add_tokenizer_model("llama")
        writer.add_token_scores([-float(id) for id in range(len(tokens))])
        octet = [token.startswith("<0x") for token in tokens]
        kinds = [TokenType.BYTE if is_byte else k for is_byte, k in zip(octet, kinds, strict=True)]
    else:
        merges = json.loads(tokenizer.to_str())["model"]["merges"]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_token_types(kinds)


def _add_weights(writer, model, architecture: str, kind: GGMLQuantizationType) -> None:
    config = model.config
    [number] = (n for n, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(number, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.numpy()
        stem, part = name.rsplit(".", 1)
        projection = stem.rsplit(".", 1)[-1]
        if architecture == "llama" and projection in heads:
            shape = (heads[projection], 2, -1, *values.shape[1:])  # its two halves, interleaved
            values = values.reshape(shape).swapaxes(1, 2).reshape(values.shape)
        if architecture.startswith("gemma") and "norm" in name:
            values = values + 1
        stored = kind if values.ndim == 2 else GGMLQuantizationType.F32
        data = gguf.quantize(np.ascontiguousarray(values), stored)
        writer.add_tensor(f"{names.get_name(stem)}.{part}", data, raw_dtype=stored)
