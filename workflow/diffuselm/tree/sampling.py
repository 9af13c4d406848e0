"""Tree sampling: N answers at temperature 1, each distinct prefix forwarded once."""

import copy
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from diffuselm.tree.form import Form


@dataclass(frozen=True)
class Draw:
    """One sampled answer: its tokens (the end token included) and their log-probability in nats."""

    tokens: tuple[int, ...]
    log_prob: float
    truncated: bool


@dataclass(frozen=True)
class _Frontier:
    """Distinct prefixes of one length, the draws that go through each, and what they may reuse."""

    prefixes: np.ndarray  # (rows, length) token ids after the prompt
    draws: Sequence[np.ndarray]  # per row: indices of the draws that share this prefix
    cache: Cache | None  # keys and values of the prompt and of the nodes above, each once
    sees: np.ndarray  # (rows, cached positions) bool: the prompt and the row's own ancestors
    states: np.ndarray  # (rows,) state of each prefix in the form that answers are held to


@torch.inference_mode()
def sample(
    model: PreTrainedModel,
    prompt: Sequence[int],
    draws: int,
    *,
    end_tokens: Collection[int],
    max_tokens: int,
    seed: int,
    token_budget: int,
    over_tree: bool = True,
    temperature: float = 1.0,
    form: Form | None = None,
) -> list[Draw]:
    """Draw `draws` independent answers, by default at temperature 1, no top-k or top-p.

    Draw i carries uniforms u[i, 0], u[i, 1], … and takes at step t the token in whose share of
    the cumulative distribution u[i, t] falls. Draws that share a prefix share its forward pass,
    and the outcome of each hangs neither on the others nor, but for rounding, on how levels are
    cut into chunks.

    `token_budget` bounds the positions that one forward pass sees, and so each cache. `over_tree`
    is off for a model that cannot take a tree mask (`objective.choose_node_log_probs` tells). With
    a `form`, each step draws among the tokens that may follow in it, and log-probabilities are of
    that distribution.
    """
    uniforms = np.random.default_rng(seed).random((max_tokens, draws))
    log_probs = np.zeros(draws)
    tokens: list[tuple[int, ...]] = [()] * draws
    truncated = np.zeros(draws, dtype=bool)
    ends = set(end_tokens)
    forward, width = _forward_rows, max(1, token_budget // (len(prompt) + max_tokens))
    if over_tree and attends_to_all(model, len(prompt) + max_tokens):
        forward, width = _forward_tree, max(1, (token_budget - len(prompt)) // max_tokens)
    nothing = np.empty((1, 0), dtype=np.int64)
    start = np.array([form.start if form else 0])
    stack = [_Frontier(nothing, [np.arange(draws)], None, nothing.astype(bool), start)]
    while stack:
        frontier = stack.pop()
        step = frontier.prefixes.shape[1]
        logits, cache, sees = forward(model, prompt, frontier)
        logits = logits / temperature
        if form is not None:
            logits = form.hold(logits, frontier.states)
        picks = choose(logits, [uniforms[step, indices] for indices in frontier.draws])
        children: list[tuple[int, np.ndarray, np.ndarray]] = []
        for row, (chosen, chosen_log_probs) in enumerate(picks):
            indices = frontier.draws[row]
            log_probs[indices] += chosen_log_probs
            for token, through in _groups(chosen, indices):
                prefix = np.append(frontier.prefixes[row], token)
                if token in ends or step + 1 == max_tokens:
                    for index in through:
                        tokens[index] = tuple(prefix.tolist())
                    truncated[through] = token not in ends
                else:
                    children.append((row, prefix, through))
        # Deepest first, one chunk at a time: only the chunks of one path hold a cache.
        for start in reversed(range(0, len(children), width)):
            rows, prefixes, through = zip(*children[start : start + width], strict=True)
            chunk, kept = np.stack(prefixes), list(rows)
            states = frontier.states[kept]
            if form is not None:
                states = form.next(states, chunk[:, -1])
            stack.append(_Frontier(chunk, through, cache, sees[kept], states))
    return [
        Draw(*draw) for draw in zip(tokens, log_probs.tolist(), truncated.tolist(), strict=True)
    ]


def _groups(chosen: np.ndarray, indices: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Split the draws of one prefix by the token that each took, in order of the tokens."""
    if len(chosen) == 1:
        yield int(chosen[0]), indices
        return
    for token in np.unique(chosen):
        yield int(token), indices[chosen == token]


def choose(
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


def attends_to_all(model: PreTrainedModel, positions: int) -> bool:
    """Whether every layer sees all of an answer: no shorter sliding window, no other state.

    Elsewhere branches cannot stand side by side in one cache, and every row is read whole.
    """
    return all(
        type(layer) is DynamicLayer
        or (type(layer) is DynamicSlidingWindowLayer and layer.sliding_window > positions)
        for layer in DynamicCache(config=model.config).layers
    )


def _forward_tree(
    model: PreTrainedModel, prompt: Sequence[int], frontier: _Frontier
) -> tuple[Tensor, Cache, np.ndarray]:
    """Next-token logits (rows, vocabulary), from one packed row behind a cache without copies.

    The cache holds the prompt once and every node once. A row's token sees the prompt, its
    ancestors and itself, so that siblings stand side by side. Also returns the grown cache, and
    what each row sees of it, itself included.
    """
    rows, length = frontier.prefixes.shape
    if not length:
        cache, ids = DynamicCache(), torch.as_tensor([list(prompt)], device=model.device)
        output = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return output.logits[0], cache, np.ones((1, len(prompt)), dtype=bool)
    used = frontier.sees.any(axis=0)
    cache = _gathered(frontier.cache, torch.as_tensor(np.flatnonzero(used), device=model.device))
    sees = np.concatenate([frontier.sees[:, used], np.eye(rows, dtype=bool)], axis=1)
    hidden = torch.as_tensor(~sees, device=model.device)
    mask = torch.zeros(sees.shape, dtype=model.dtype, device=model.device)
    mask.masked_fill_(hidden, torch.finfo(model.dtype).min)
    output = model(
        input_ids=torch.as_tensor(frontier.prefixes[None, :, -1], device=model.device),
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
    model: PreTrainedModel, prompt: Sequence[int], frontier: _Frontier
) -> tuple[Tensor, None, np.ndarray]:
    """The same logits with nothing shared: prompt and prefix of each row read anew."""
    rows = len(frontier.prefixes)
    ids = np.concatenate([np.tile(np.asarray(prompt), (rows, 1)), frontier.prefixes], axis=1)
    output = model(
        input_ids=torch.as_tensor(ids, device=model.device), use_cache=False, logits_to_keep=1
    )
    return output.logits[:, -1], None, np.empty((rows, 0), dtype=bool)
