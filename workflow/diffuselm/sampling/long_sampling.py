"""Sampling of long answers: they share the prompt and little else, so each is a row of its own."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface, Cache, PreTrainedModel

from diffuselm.sampling.answers import Answers, Draw
from diffuselm.sampling.tree_sampling import attends_to_all, read_prompt, sample
from diffuselm.tree.token_budget import is_out_of_memory

log = logging.getLogger(__name__)

_NAME = "diffuselm_shared_prompt"


@torch.inference_mode()
def sample_long(
    model: PreTrainedModel,
    prompt: Sequence[int],
    draws: int,
    *,
    token_budget: int,
    **options: Any,
) -> list[Draw]:
    """Draw `draws` independent answers, the very ones that `sample` draws with these `options`.

    The keys of the prompt are computed once and shared by all rows. A row whose answer has ended
    takes up the next draw; when none waits, rows that have ended are dropped. `token_budget` bounds
    the positions in memory: the prompt, and `max_tokens` for each row. A model that cannot attend
    this way is sampled by whole rows.
    """
    answers = Answers(draws, **options)
    begun = _begin(model, prompt, answers.max_tokens)
    if begun is None:
        log.warning("%s does not take a shared prompt: rows are read whole", type(model).__name__)
        return sample(model, prompt, draws, token_budget=token_budget, over_tree=False, **options)
    first, cache = begun
    answers.take(first, [np.arange(draws)])
    width = max(1, (token_budget - len(prompt)) // answers.max_tokens)
    waiting = iter(np.flatnonzero(~answers.ended).tolist())
    draw = np.array(list(islice(waiting, width)), dtype=np.int64)  # the answer of each row
    attention = _SharedPrompt(cache, rows=len(draw), length=answers.max_tokens)
    with _attending(model, attention):
        while len(draw):
            before = answers.lengths[draw] - 1
            logits = _forward(model, attention, answers.tokens[draw, before], before)
            answers.take(logits, draw[:, None])
            for row in np.flatnonzero(answers.ended[draw]):
                draw[row] = next(waiting, draw[row])
            done = answers.ended[draw]
            # To drop rows copies the others: worth it for many at once.
            if 4 * done.sum() >= len(draw):
                attention.keep(np.flatnonzero(~done))
                draw = draw[~done]
    return answers.drawn()


class _SharedPrompt:
    """Attention of rows, one new token each, to the one prompt and to each row's own answer."""

    def __init__(self, prompt: Cache, rows: int, length: int) -> None:
        self.prompt = [(layer.keys[0], layer.values[0]) for layer in prompt.layers]  # (heads, p, d)
        self.answers = [
            (keys.new_zeros(rows, len(keys), length, keys.shape[2]),
             values.new_zeros(rows, len(values), length, values.shape[2]))
            for keys, values in self.prompt
        ]  # fmt: skip
        self.lengths = np.zeros(rows, dtype=np.int64)  # tokens of each row before the new one

    def keep(self, rows: np.ndarray) -> None:
        """Drop all other rows."""
        for layer, (keys, values) in enumerate(self.answers):
            index = torch.as_tensor(rows, device=keys.device)
            self.answers[layer] = keys[index], values[index]

    def __call__(
        self,
        module: torch.nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: None,
        scaling: float,
        softcap: float | None = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        """Replace the attention of one layer: (rows, heads, 1, d) to (rows, 1, heads, d)."""
        layer = int(module.layer_idx)  # type: ignore[arg-type]
        prompt_keys, prompt_values = self.prompt[layer]
        keys, values = self.answers[layer]
        rows, lengths = len(key), torch.as_tensor(self.lengths, device=key.device)
        every, seen = torch.arange(rows, device=key.device), int(self.lengths.max()) + 1
        keys[every, :, lengths] = key[:, :, 0]
        values[every, :, lengths] = value[:, :, 0]
        asked = query[:, :, 0].unflatten(1, (key.shape[1], -1))  # (rows, heads, group, d)
        of_prompt = _by_head(asked, prompt_keys.transpose(1, 2))
        of_answer = asked @ keys[:, :, :seen].transpose(2, 3)
        scores = torch.cat([of_prompt, of_answer], dim=3) * scaling
        if softcap is not None:
            scores = (scores / softcap).tanh() * softcap
        unseen = torch.arange(seen, device=key.device) > lengths[:, None]
        scores[..., -seen:].masked_fill_(unseen[:, None, None], float("-inf"))
        weights = scores.softmax(dim=3, dtype=torch.float32).to(query.dtype)
        on_prompt, on_answer = weights.split([prompt_keys.shape[1], seen], dim=3)
        output = _by_head(on_prompt, prompt_values) + on_answer @ values[:, :, :seen]
        return output.flatten(1, 2).unsqueeze(1), None


def _by_head(rows: Tensor, shared: Tensor) -> Tensor:
    """(rows, heads, group, m) x (heads, m, n): one product for all rows, which share the latter."""
    product = rows.transpose(0, 1).flatten(1, 2) @ shared
    return product.unflatten(1, (len(rows), rows.shape[2])).transpose(0, 1)


@contextmanager
def _attending(model: PreTrainedModel, attention: _SharedPrompt) -> Iterator[None]:
    """Within it, every layer of the model attends through `attention`, without a mask."""
    usual = model.config._attn_implementation
    AttentionInterface.register(_NAME, attention)
    model.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(usual)
        # The registry goes on to hold `attention`, but not its keys and values.
        attention.prompt, attention.answers = [], []


def _forward(
    model: PreTrainedModel, attention: _SharedPrompt, tokens: np.ndarray, lengths: np.ndarray
) -> Tensor:
    """Next-token logits (rows, vocabulary) after one more token in each row."""
    attention.lengths = lengths
    positions = attention.prompt[0][0].shape[1] + lengths
    output = model(
        input_ids=torch.as_tensor(tokens[:, None], device=model.device),
        position_ids=torch.as_tensor(positions[:, None], device=model.device),
        use_cache=False,
    )
    return output.logits[:, -1]


def _begin(
    model: PreTrainedModel, prompt: Sequence[int], max_tokens: int
) -> tuple[Tensor, Cache] | None:
    """The logits after the prompt, and its keys and values.

    None unless the model takes this attention: the same logits after one more token.
    """
    if not attends_to_all(model, len(prompt) + max_tokens):
        return None
    first, cache = read_prompt(model, prompt)
    token = first.argmax(dim=1).cpu().numpy()
    ids = torch.as_tensor([[*prompt, *token]], device=model.device)
    usual = model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1]
    attention = _SharedPrompt(cache, rows=1, length=1)
    try:
        with _attending(model, attention):
            shared = _forward(model, attention, token, np.zeros(1, dtype=np.int64))
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        return None
    tolerance = 1e-3 if model.dtype == torch.float32 else 0.1
    same = (shared - usual).abs().max() <= tolerance * usual.abs().max()
    return (first, cache) if same else None
