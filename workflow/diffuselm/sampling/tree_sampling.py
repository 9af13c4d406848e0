"""Tree sampling: N answers at temperature 1, each distinct prefix forwarded once."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from diffuselm.sampling.answers import Answers, Draw


@dataclass(frozen=True)
class _Frontier:
    """Distinct prefixes of one length: the draws through each, and what their pass may reuse."""

    draws: Sequence[np.ndarray]  # per row: indices of the draws that share this prefix
    cache: Cache | None  # keys and values of the prompt and of the nodes above, each once
    sees: np.ndarray  # (rows, cached positions) bool: the prompt and the row's own ancestors


@torch.inference_mode()
def sample(
    model: PreTrainedModel,
    prompt: Sequence[int],
    draws: int,
    *,
    token_budget: int,
    over_tree: bool = True,
    **options: Any,
) -> list[Draw]:
    """Draw `draws` independent answers, no top-k or top-p; `options` are those of `Answers`.

    Draws that share a prefix share its forward pass, and the outcome of each depends neither on
    the others nor, but for rounding, on how levels are cut into chunks (see `Answers`).

    `token_budget` bounds the positions that one forward pass sees, and so each cache. `over_tree`
    is off for a model that cannot take a tree mask (see `choose_layout`).
    """
    answers = Answers(draws, **options)
    longest = len(prompt) + answers.max_tokens
    forward, width = _forward_rows, max(1, token_budget // longest)
    if over_tree and attends_to_all(model, longest):
        forward, width = _forward_tree, max(1, (token_budget - len(prompt)) // answers.max_tokens)
    stack = [_Frontier([np.arange(draws)], None, np.empty((1, 0), dtype=bool))]
    while stack:
        frontier = stack.pop()
        first = [own[0] for own in frontier.draws]
        prefixes = answers.tokens[first, : answers.lengths[first[0]]]
        logits, cache, sees = forward(model, prompt, prefixes, frontier)
        answers.take(logits, frontier.draws)
        children = [
            (row, through)
            for row, own in enumerate(frontier.draws)
            for through in answers.branches(own)
        ]
        # Deepest first, one chunk at a time: only the chunks of one path hold a cache.
        for start in reversed(range(0, len(children), width)):
            rows, through = zip(*children[start : start + width], strict=True)
            stack.append(_Frontier(through, cache, sees[list(rows)]))
    return answers.drawn()


def attends_to_all(model: PreTrainedModel, positions: int) -> bool:
    """Whether every layer sees all of an answer: no shorter sliding window, no other state.

    Elsewhere branches cannot stand side by side in one cache, and every row is read whole.
    """
    return all(
        type(layer) is DynamicLayer
        or (type(layer) is DynamicSlidingWindowLayer and layer.sliding_window > positions)
        for layer in DynamicCache(config=model.config).layers
    )


def read_prompt(model: PreTrainedModel, prompt: Sequence[int]) -> tuple[Tensor, Cache]:
    """The logits (1, vocabulary) of the token after the prompt, and the prompt's keys and values.

    Of a model that attends to all of an answer.
    """
    cache, ids = DynamicCache(), torch.as_tensor([list(prompt)], device=model.device)
    output = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return output.logits[0], cache


def _forward_tree(
    model: PreTrainedModel, prompt: Sequence[int], prefixes: np.ndarray, frontier: _Frontier
) -> tuple[Tensor, Cache, np.ndarray]:
    """Next-token logits (rows, vocabulary), from one packed row behind a cache without copies.

    The cache holds the prompt once and every node once. A row's token sees the prompt, its
    ancestors and itself, so that siblings stand side by side. Also returns the grown cache, and
    what each row sees of it, itself included.
    """
    rows, length = prefixes.shape
    if not length:
        return *read_prompt(model, prompt), np.ones((1, len(prompt)), dtype=bool)
    used = frontier.sees.any(axis=0)
    cache = _gathered(frontier.cache, torch.as_tensor(np.flatnonzero(used), device=model.device))
    sees = np.concatenate([frontier.sees[:, used], np.eye(rows, dtype=bool)], axis=1)
    hidden = torch.as_tensor(~sees, device=model.device)
    mask = torch.zeros(sees.shape, dtype=model.dtype, device=model.device)
    mask.masked_fill_(hidden, torch.finfo(model.dtype).min)
    output = model(
        input_ids=torch.as_tensor(prefixes[None, :, -1], device=model.device),
        attention_mask=mask[None, None],
        position_ids=torch.full((1, rows), len(prompt) + length - 1, device=model.device),
        past_key_values=cache,
        use_cache=True,
    )
    return output.logits[0], cache, sees


def _gathered(cache: Cache, positions: Tensor) -> Cache:
    """A cache of some positions; the one it came from stays as it is, for other chunks."""
    gathered = copy.copy(cache)
    gathered.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in gathered.layers:
        if len(positions) < layer.keys.shape[2]:
            kept = positions.to(layer.keys.device)  # layers may be spread over several GPUs
            layer.keys = layer.keys.index_select(2, kept)
            layer.values = layer.values.index_select(2, kept)
    return gathered


def _forward_rows(
    model: PreTrainedModel, prompt: Sequence[int], prefixes: np.ndarray, frontier: _Frontier
) -> tuple[Tensor, None, np.ndarray]:
    """The same logits with nothing shared: prompt and prefix of each row read anew."""
    rows = len(prefixes)
    ids = np.concatenate([np.tile(np.asarray(prompt), (rows, 1)), prefixes], axis=1)
    output = model(
        input_ids=torch.as_tensor(ids, device=model.device), use_cache=False, logits_to_keep=1
    )
    return output.logits[:, -1], None, np.empty((rows, 0), dtype=bool)
