"""The three families in miniature: architecture class, tokenizer and chat format of each."""

from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

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
    """One family: its special tokens, chat template, size of vocabulary, and odd settings."""

    template: str
    vocabulary: int
    settings: dict[str, int]
    bos: str = "<s>"
    eos: str = "</s>"
    end_of_turn: str = "</s>"
    pad: str = "<unk>"


GEMMA_SETTINGS = {"num_key_value_heads": 4, "head_dim": 32}
# By the type that transformers knows each by.
ARCHITECTURES = {
    "gemma": Architecture(
        GEMMA_TEMPLATE, 1280, GEMMA_SETTINGS, "<bos>", "<eos>", "<end_of_turn>", "<pad>"
    ),
    "llama": Architecture(LLAMA_TEMPLATE, 1024, {"num_key_value_heads": 4}),
    "mistral": Architecture(
        INST_TEMPLATE, 1152, {"num_key_value_heads": 2, "sliding_window": 4096}
    ),
}


def make_tokenizer(family: str, text: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer; digits and braces are always tokens of their own."""
    own = ARCHITECTURES[family]
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
    turns = ["<start_of_turn>"] if "<start_of_turn>" in own.template else ["[INST]", "[/INST]"]
    special = dict.fromkeys([own.pad, own.eos, own.bos, own.end_of_turn, *turns])
    trainer = trainers.BpeTrainer(
        vocab_size=own.vocabulary,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=own.bos,
        eos_token=own.eos,
        pad_token=own.pad,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
        chat_template=own.template,
    )


def make_model(family: str, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A model with random weights, about 1.2M parameters, its end tokens set for generation."""
    own = ARCHITECTURES[family]
    ends = dict.fromkeys(tokenizer.convert_tokens_to_ids([own.end_of_turn, own.eos]))
    config = AutoConfig.for_model(
        family,
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
        **own.settings,
    )
    return AutoModelForCausalLM.from_config(config)
