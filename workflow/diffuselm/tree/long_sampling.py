"""Sampling of long answers: they share the prompt and little else, so each is a row of its own."""

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface, Cache, DynamicCache, PreTrainedModel

from diffuselm.tree.form import Form
from diffuselm.tree.sampling import Draw, attends_to_all, choose, sample
from diffuselm.tree.token_budget import is_out_of_memory

log = logging.getLogger(__name__)

_NAME = "diffuselm_shared_prompt"


@torch.inference_mode()
def sample_long(
    model: PreTrainedModel,
    prompt: Sequence[int],
    draws: int,
    *,
    end_tokens: Collection[int],
    max_tokens: int,
    seed: int,
    token_budget: int,
    temperature: float = 1.0,
    form: Form | None = None,
) -> list[Draw]:
    """Draw `draws` independent answers; at temperature 1 the very ones that `sample` draws.

    The keys of the prompt are computed once and shared by all rows. A row whose answer has ended
    takes up the next draw; when none waits, rows that have ended are dropped. `token_budget` bounds
    the positions in memory: the prompt, and `max_tokens` for each row. A model that cannot attend
    this way is sampled by whole rows.
    """
    prompt_cache, first = _read_prompt(model, prompt)
    if not _shares_prompt(model, prompt, prompt_cache, first, max_tokens):
        log.warning("%s does not take a shared prompt: rows are read whole", type(model).__name__)
        return sample(
            model,
            prompt,
            draws,
            end_tokens=end_tokens,
            max_tokens=max_tokens,
            seed=seed,
            token_budget=token_budget,
            over_tree=False,
            temperature=temperature,
            form=form,
        )
    uniforms = np.random.default_rng(seed).random((max_tokens, draws))
    ends = np.array(sorted(end_tokens))
    answers = np.empty((draws, max_tokens), dtype=np.int64)
    lengths = np.ones(draws, dtype=np.int64)
    states = np.full(draws, form.start if form else 0)
    held = first / temperature if form is None else form.hold(first / temperature, states[:1])
    chosen, log_probs = next(choose(held, [uniforms[0]]))
    answers[:, 0] = chosen
    states = states if form is None else form.next(states, chosen)
    ended = np.isin(answers[:, 0], ends) | (max_tokens == 1)
    waiting = iter(np.flatnonzero(~ended).tolist())
    width = max(1, (token_budget - len(prompt)) // max_tokens)
    draw = np.array([i for _, i in zip(range(width), waiting, strict=False)], dtype=np.int64)
    attention = _SharedPrompt(prompt_cache, rows=len(draw), length=max_tokens)
    with _attending(model, attention):
        while len(draw):
            logits = _forward(model, attention, answers[draw, lengths[draw] - 1], lengths[draw] - 1)
            at = uniforms[np.minimum(lengths[draw], max_tokens - 1), draw]
            logits = logits / temperature
            if form is not None:
                logits = form.hold(logits, states[draw])
            picks = choose(logits, list(at[:, None]))
            for row, (token, log_prob) in enumerate(picks):
                if ended[draw[row]]:
                    continue  # a row that waits to be dropped
                answers[draw[row], lengths[draw[row]]] = token[0]
                log_probs[draw[row]] += log_prob[0]
            running = ~ended[draw]
            lengths[draw[running]] += 1
            last = answers[draw, lengths[draw] - 1]
            if form is not None:
                going = draw[running]
                states[going] = form.next(states[going], last[running])
            ended[draw] |= np.isin(last, ends) | (lengths[draw] == max_tokens)
            for row in np.flatnonzero(ended[draw]):
                draw[row] = next(waiting, draw[row])
            done = ended[draw]
            # To drop rows copies the others: worth it for many at once.
            if 4 * done.sum() >= len(draw):
                attention.keep(np.flatnonzero(~done))
                draw = draw[~done]
    return [
        Draw(tuple(row[:length].tolist()), float(log_prob), bool(row[length - 1] not in ends))
        for row, length, log_prob in zip(answers, lengths, log_probs, strict=True)
    ]


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
        rows, heads = key.shape[:2]
        lengths = torch.as_tensor(self.lengths, device=key.device)
        every, seen = torch.arange(rows, device=key.device), int(self.lengths.max()) + 1
        keys[every, :, lengths] = key[:, :, 0]
        values[every, :, lengths] = value[:, :, 0]
        asked = query[:, :, 0].unflatten(1, (heads, -1))  # (rows, heads, group, d)
        group = asked.shape[2]
        # One product for all rows: they ask the same keys.
        of_prompt = asked.transpose(0, 1).flatten(1, 2) @ prompt_keys.transpose(1, 2)
        of_prompt = of_prompt.unflatten(1, (rows, group)).transpose(0, 1)
        of_answer = asked @ keys[:, :, :seen].transpose(2, 3)
        scores = torch.cat([of_prompt, of_answer], dim=3) * scaling
        if softcap is not None:
            scores = (scores / softcap).tanh() * softcap
        unseen = torch.arange(seen, device=key.device) > lengths[:, None]
        scores[..., -seen:].masked_fill_(unseen[:, None, None], float("-inf"))
        weights = scores.softmax(dim=3, dtype=torch.float32).to(query.dtype)
        on_prompt, on_answer = weights.split([prompt_keys.shape[1], seen], dim=3)
        output = on_prompt.transpose(0, 1).flatten(1, 2) @ prompt_values
        output = output.unflatten(1, (rows, group)).transpose(0, 1)
        output = output + on_answer @ values[:, :, :seen]
        return output.flatten(1, 2).unsqueeze(1), None


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


def _read_prompt(model: PreTrainedModel, prompt: Sequence[int]) -> tuple[Cache, Tensor]:
    """The prompt's keys and values, and the logits (1, vocabulary) of the token after it."""
    cache = DynamicCache(config=model.config)
    ids = torch.as_tensor([list(prompt)], device=model.device)
    output = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return cache, output.logits[0]


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


def _shares_prompt(
    model: PreTrainedModel, prompt: Sequence[int], cache: Cache, first: Tensor, max_tokens: int
) -> bool:
    """Whether the model takes this attention: the same logits after one more token."""
    if not attends_to_all(model, len(prompt) + max_tokens):
        return False
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
        return False
    tolerance = 1e-3 if model.dtype == torch.float32 else 0.1
    return bool((shared - usual).abs().max() <= tolerance * usual.abs().max())
