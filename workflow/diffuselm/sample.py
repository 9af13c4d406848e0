"""Tree sampling: N answers at temperature 1, each distinct prefix forwarded once."""

import copy
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


@dataclass(frozen=True)
class Draw:
    """One sampled answer: its tokens (the end token included) and their log-probability in nats."""

    tokens: tuple[int, ...]
    log_prob: float
    truncated: bool


@dataclass(frozen=True)
class _Frontier:
    """Distinct prefixes of one length, and the draws that go through each."""

    prefixes: np.ndarray  # (rows, length) token ids after the prompt
    parents: Tensor  # (rows,) row of each prefix's parent in `cache`
    cache: Cache | None  # of the parents; None where the model cannot gather its cache
    draws: list[np.ndarray]  # per row: indices of the draws that share this prefix


def sample(
    model: PreTrainedModel,
    prompt: Sequence[int],
    draws: int,
    *,
    end_tokens: Collection[int],
    max_tokens: int,
    seed: int,
    token_budget: int,
) -> list[Draw]:
    """Draw `draws` independent answers at temperature 1, no top-k or top-p.

    Draw i carries uniforms u[i, 0], u[i, 1], … and takes at step t the token in whose share of
    the cumulative distribution u[i, t] falls. Draws that share a prefix share its forward pass,
    and the outcome of each depends neither on the others nor on how levels are cut into chunks.

    `token_budget` bounds rows x (prompt and answer tokens) of one forward pass, and so the cache.
    """
    uniforms = np.random.default_rng(seed).random((max_tokens, draws))
    log_probs = np.zeros(draws)
    tokens: list[tuple[int, ...]] = [()] * draws
    truncated = np.zeros(draws, dtype=bool)
    ends = np.asarray(sorted(end_tokens))
    width = max(1, token_budget // (len(prompt) + max_tokens))
    root = _Frontier(
        np.empty((1, 0), np.int64), torch.zeros(1, dtype=torch.long), None, [np.arange(draws)]
    )
    stack = [root]
    while stack:
        frontier = stack.pop()
        step = frontier.prefixes.shape[1]
        logits, cache = _forward(model, prompt, frontier)
        children: list[tuple[int, np.ndarray, np.ndarray]] = []
        picks = _choose(logits, [uniforms[step, indices] for indices in frontier.draws])
        for row, (indices, (chosen, chosen_log_probs)) in enumerate(
            zip(frontier.draws, picks, strict=True)
        ):
            log_probs[indices] += chosen_log_probs
            for token in np.unique(chosen):
                prefix = np.append(frontier.prefixes[row], token)
                through = indices[chosen == token]
                if token in ends or step + 1 == max_tokens:
                    for index in through:
                        tokens[index] = tuple(prefix.tolist())
                    truncated[through] = token not in ends
                else:
                    children.append((row, prefix, through))
        # Deepest first, one chunk at a time: only the chunks of one path hold a cache.
        for start in reversed(range(0, len(children), width)):
            rows, prefixes, through = zip(*children[start : start + width], strict=True)
            stack.append(_Frontier(np.stack(prefixes), torch.tensor(rows), cache, list(through)))
    return [
        Draw(*draw) for draw in zip(tokens, log_probs.tolist(), truncated.tolist(), strict=True)
    ]


def _choose(
    logits: Tensor, uniforms: Sequence[np.ndarray], block: int = 2**23
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Invert the cumulative distribution of each row of (rows, vocabulary) logits at its uniforms.

    Yields a row's (draws,) tokens and their log-probabilities. In float64: a float32 cumulative
    sum over a large vocabulary would move the rare tokens. `block` bounds the float64 logits.
    """
    height = max(1, block // logits.shape[1])
    for start in range(0, len(logits), height):
        counts = [len(u) for u in uniforms[start : start + height]]
        at = np.zeros((len(counts), max(counts)))
        for row, count in enumerate(counts):
            at[row, :count] = uniforms[start + row]
        log_probs = logits[start : start + height].double().log_softmax(dim=-1)
        cumulative = log_probs.exp().cumsum(dim=-1)
        heights = torch.as_tensor(at, device=logits.device) * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, heights, right=True)
        tokens = tokens.clamp(max=logits.shape[1] - 1)
        chosen, chosen_log_probs = tokens.cpu().numpy(), log_probs.gather(1, tokens).cpu().numpy()
        for row, count in enumerate(counts):
            yield chosen[row, :count], chosen_log_probs[row, :count]


@torch.inference_mode()
def _forward(
    model: PreTrainedModel, prompt: Sequence[int], frontier: _Frontier
) -> tuple[Tensor, Cache | None]:
    """Next-token logits (rows, vocabulary) of the frontier's prefixes, and their cache."""
    rows, length = frontier.prefixes.shape
    if frontier.cache is not None:
        ids = frontier.prefixes[:, -1:]
        cache = _gathered(frontier.cache, frontier.parents.to(model.device))
    else:
        ids = np.concatenate([np.tile(np.asarray(prompt), (rows, 1)), frontier.prefixes], axis=1)
        cache = DynamicCache(config=model.config)
    first = len(prompt) + length - ids.shape[1]
    positions = torch.arange(first, first + ids.shape[1], device=model.device)[None]
    output = model(
        input_ids=torch.as_tensor(ids, device=model.device),
        position_ids=positions.expand(rows, -1),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    cache = getattr(output, "past_key_values", None)
    return output.logits[:, -1], cache if _can_be_gathered(cache) else None


def _can_be_gathered(cache: Cache | None) -> bool:
    """Whether rows of the cache can be picked: plain attention, full or sliding.

    A model with another kind of state (Mamba, say) reads each prefix anew instead.
    """
    return cache is not None and all(
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers
    )


def _gathered(cache: Cache, rows: Tensor) -> Cache:
    """A cache of the given rows; the one it came from stays as it is, for other chunks."""
    gathered = copy.copy(cache)
    gathered.layers = [copy.copy(layer) for layer in cache.layers]
    gathered.reorder_cache(rows)
    return gathered
