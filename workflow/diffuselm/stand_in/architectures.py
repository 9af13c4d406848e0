"""The three families in miniature: architecture class, tokenizer and chat format of each."""

from collections.abc import Iterator
from dataclasses import dataclass

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>"
    "{{ 'model' if message.role == 'assistant' else message.role }}\n"
    "{{ message.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
INST_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}"
    "[INST] {{ message.content | trim }} [/INST]{% else %}"
    "{{ message.content | trim }}{{ eos_token }}{% endif %}{% endfor %}"
)
LLAMA_TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'user' %}"
    "{{ bos_token }}[INST] {{ message.content | trim }} [/INST]{% else %}"
    "{{ message.content | trim }}{{ eos_token }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class Architecture:
    """One family: classes of transformers, special tokens, chat template, and odd settings."""

    config: type[PretrainedConfig]
    model: type[PreTrainedModel]
    bos: str
    eos: str
    end_of_turn: str
    pad: str
    template: str
    vocabulary: int
    extra: dict[str, object]


ARCHITECTURES = {
    "gemma": Architecture(
        GemmaConfig, GemmaForCausalLM, "<bos>", "<eos>", "<end_of_turn>", "<pad>",
        GEMMA_TEMPLATE, 1280, {"num_key_value_heads": 4, "head_dim": 32},
    ),
    "llama": Architecture(
        LlamaConfig, LlamaForCausalLM, "<s>", "</s>", "</s>", "<unk>",
        LLAMA_TEMPLATE, 1024, {"num_key_value_heads": 4},
    ),
    "mistral": Architecture(
        MistralConfig, MistralForCausalLM, "<s>", "</s>", "</s>", "<unk>",
        INST_TEMPLATE, 1152, {"num_key_value_heads": 2, "sliding_window": 4096},
    ),
}  # fmt: skip


def make_tokenizer(family: Architecture, text: Iterator[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer; digits and braces are always tokens of their own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Split("{", "isolated"),
            pre_tokenizers.Split("}", "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    turns = ["<start_of_turn>"] if "<start_of_turn>" in family.template else ["[INST]", "[/INST]"]
    special = dict.fromkeys([family.pad, family.eos, family.bos, family.end_of_turn, *turns])
    trainer = trainers.BpeTrainer(
        vocab_size=family.vocabulary,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=family.bos,
        eos_token=family.eos,
        pad_token=family.pad,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = family.template
    return wrapped


def make_model(family: Architecture, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A model with random weights, about 1.2M parameters, its end tokens set for generation."""
    ends = dict.fromkeys(
        tokenizer.convert_tokens_to_ids(token) for token in (family.end_of_turn, family.eos)
    )
    config = family.config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=5,
        num_attention_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=list(ends) if len(ends) > 1 else next(iter(ends)),
        pad_token_id=tokenizer.pad_token_id,
        **family.extra,
    )
    return family.model(config)
