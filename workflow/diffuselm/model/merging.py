"""A base model with an adapter merged into its weights, which samples as here by itself."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from diffuselm.errors import InputError
from diffuselm.files.json_files import read_json
from diffuselm.model.adapters import check_base, load_adapter
from diffuselm.model.chat import NO_CLOCK, ChatFormat
from diffuselm.model.opening import ASKING, load_chat_format, load_model


def merged(
    model_record: Path, adapter: Path, tuned: Mapping[str, Any]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The merged model, in the type that the adapter was tuned on, and its tokenizer.

    `tuned` is the adapter's run.json. Merging is in float32. Raises InputError where the adapter
    was tuned on another model, on weights in 4 bits, or has virtual tokens.
    """
    record = read_json(model_record)
    settings, folder = record["settings"], Path(record["path"])
    if settings["four_bit"] or tuned["model"]["settings"]["four_bit"]:
        raise InputError(
            f"{model_record}: four_bit: true; expected false: weights in 4 bits take no adapter in"
        )
    check_base(adapter, record, model_record)
    base = load_model(folder, dtype="float32")
    ends = base.generation_config.eos_token_id
    chat = load_chat_format(folder, ends, **{key: settings[key] for key in ASKING})
    whole = load_adapter(base, adapter)
    if hasattr(whole, "virtual_tokens"):
        raise InputError(
            f"{adapter}: its virtual tokens are no weights; expected an adapter that changes some"
        )
    model = whole.to(getattr(torch, tuned["settings"]["dtype"]))
    model.generation_config = _generation(model, chat)
    chat.tokenizer.chat_template = _whole_template(chat)
    return model, chat.tokenizer


def _generation(model: PreTrainedModel, chat: ChatFormat) -> GenerationConfig:
    """Sampling as everywhere here: from all of the distribution, until an end token."""
    return GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,  # without it, transformers take 50
        top_p=1.0,
        bos_token_id=model.generation_config.bos_token_id,
        eos_token_id=list(chat.end_tokens),
        pad_token_id=chat.end_tokens[0],
    )


def _whole_template(chat: ChatFormat) -> str:
    """The chat template, with the model's `template_args` as the defaults of its variables."""
    template = chat.tokenizer.get_chat_template()
    clock = NO_CLOCK if "strftime_now" in template else ""
    return "".join(_default(*each) for each in chat.template_args.items()) + clock + template


def _default(name: str, value: Any) -> str:
    literal = json.dumps(value, ensure_ascii=False)
    return f"{{% if {name} is not defined %}}{{% set {name} = {literal} %}}{{% endif %}}"
