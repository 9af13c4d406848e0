"""Stage `merge`: a base model with an adapter merged into its weights, as a folder of its own."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from diffuselm.errors import InputError
from diffuselm.files import contracts
from diffuselm.files.provenance import read_json
from diffuselm.model.chat import NO_CLOCK, ChatFormat
from diffuselm.model.opening import load_adapter, load_chat_format, load_model
from diffuselm.paper.model_card import merged_card


def run(*, model_record: Path, adapter: Path, out: Path) -> None:
    """Write the model folder: safetensors in the type that the adapter was tuned on, tokenizer,
    chat template, generation config and card.

    Raises InputError where the adapter was tuned on another model, or on weights in 4 bits.
    """
    record, tuned = read_json(model_record), read_json(adapter / "run.json")
    settings, folder = record["settings"], Path(record["path"])
    if settings["four_bit"] or tuned["model"]["settings"]["four_bit"]:
        raise InputError(
            f"{model_record}: four_bit: true; expected false: weights in 4 bits take no adapter in"
        )
    if tuned["model"]["files"] != record["files"]:
        raise InputError(
            f"{adapter}: was tuned on {tuned['model']['model']}, with files of other SHA-256; "
            f"expected an adapter of the model of {model_record}"
        )
    base = load_model(folder, dtype="float32")
    chat = load_chat_format(
        folder,
        base,
        **{
            k: settings[k]
            for k in ("end_tokens", "chat_template", "template_args", "leading_space")
        },
    )
    merged = load_adapter(base, adapter).to(getattr(torch, tuned["settings"]["dtype"]))
    merged.generation_config = _generation(merged, chat)
    chat.tokenizer.chat_template = _told_template(chat)
    with contracts.written_folder(out) as part:
        merged.save_pretrained(part)
        chat.tokenizer.save_pretrained(part)
        card = merged_card(folder=out, run=tuned, dtype=tuned["settings"]["dtype"])
        (part / "README.md").write_text(card, encoding="utf-8", newline="\n")


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


def _told_template(chat: ChatFormat) -> str:
    """The chat template, with the model's `template_args` as what it is told by default."""
    template = chat.tokenizer.get_chat_template()
    clock = NO_CLOCK if "strftime_now" in template else ""
    return "".join(_default(*each) for each in chat.template_args.items()) + clock + template


def _default(name: str, value: Any) -> str:
    literal = json.dumps(value, ensure_ascii=False)
    return f"{{% if {name} is not defined %}}{{% set {name} = {literal} %}}{{% endif %}}"
