"""Virtual tokens of an adapter (prefix and prompt tuning), read before whatever a model reads."""

from typing import Any

import torch
from peft import PeftModel, PrefixTuningConfig, PromptEmbedding
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedModel

Given = dict[str, Any]


def with_virtual_tokens(tuned: PeftModel) -> PreTrainedModel:
    """The base model of a prefix or prompt tuning, with virtual tokens before all that it reads.

    They stand before position 0, all tokens see them, and logits are those of the tokens alone.
    It takes a tree mask and positions, and goes on from what was read; PEFT's own forward does
    not, and is no longer to be called.
    """
    base, config = tuned.get_base_model(), tuned.active_peft_config
    count = config.num_virtual_tokens
    put = _put_keys if isinstance(config, PrefixTuningConfig) else _put_embeddings

    def extended(_: nn.Module, args: tuple, given: Given) -> tuple[tuple, Given] | None:
        positions, cache = given.get("position_ids"), given.get("past_key_values")
        has_read = cache is not None and cache.get_seq_length() > 0
        if not has_read and positions is not None and int(positions.min()) > 0:
            return None  # rows behind a prompt that is held elsewhere, virtual tokens included
        given = {"logits_to_keep": given["input_ids"].shape[1], **given}
        if positions is not None:
            given["position_ids"] = positions + count
        if has_read:
            return args, given | _mask(given, columns=count)
        return args, put(tuned, given, count)

    # So that its parameters, and their gradients, are the model's.
    base.virtual_tokens = tuned.prompt_encoder
    base.register_forward_pre_hook(extended, with_kwargs=True)
    return base


def embedded_tokens(model: PreTrainedModel) -> int:
    """Virtual tokens that each call reads as embeddings (prompt tuning); keys are not read."""
    encoders = getattr(model, "virtual_tokens", {}).values()
    return sum(e.embedding.num_embeddings for e in encoders if isinstance(e, PromptEmbedding))


def _put_keys(tuned: PeftModel, given: Given, count: int) -> Given:
    """Prefix tuning: each layer's keys and values, as if read before."""
    cache = tuned.get_prompt(batch_size=len(given["input_ids"]))
    if (empty := given.get("past_key_values")) is not None:
        for number, layer in enumerate(cache.layers):
            empty.update(layer.keys, layer.values, number)
        cache = empty
    return given | _mask(given, columns=count) | {"past_key_values": cache}


def _put_embeddings(tuned: PeftModel, given: Given, count: int) -> Given:
    """Prompt tuning: embeddings before those of the tokens."""
    ids = given["input_ids"]
    embedded = tuned.get_base_model().get_input_embeddings()(ids)
    virtual = tuned.get_prompt(batch_size=len(ids)).to(embedded.dtype)
    made = {"input_ids": None, "inputs_embeds": torch.cat([virtual, embedded], dim=1)}
    if (positions := given.get("position_ids")) is not None:
        first = torch.arange(count, device=positions.device).expand(len(positions), -1)
        made["position_ids"] = torch.cat([first, positions], dim=1)
    return given | _mask(given, columns=count, rows=count) | made


def _mask(given: Given, columns: int, rows: int = 0) -> Given:
    """The attention mask with more keys before, that all may see, and more queries before."""
    mask: Tensor | None = given.get("attention_mask")
    if mask is None:
        return {}
    if mask.ndim == 2:
        return {"attention_mask": pad(mask, (columns, 0), value=1)}
    # Added to the scores: 0 where a key is seen.
    mask = pad(mask, (columns, 0, rows, 0))
    unseen = torch.ones(mask.shape[2:], dtype=torch.bool, device=mask.device).triu(1)
    unseen[rows:] = False
    return {"attention_mask": mask.masked_fill(unseen, torch.finfo(mask.dtype).min)}
