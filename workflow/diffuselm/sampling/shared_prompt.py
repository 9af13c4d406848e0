"""Rows that grow a token a pass, each behind one copy of the prompt's keys and values."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from diffuselm.tree.attention import attending
from diffuselm.tree.token_budget import is_out_of_memory

log = logging.getLogger(__name__)


class SharedPrompt:
    """Attention of rows, one new token each, to the one prompt and to each row's own answer.

    There is room for as many rows as a pass has had, or some more, and at most for `rows`; a pass
    takes the first of them.
    """

    def __init__(
        self, model: PreTrainedModel, prompt: Sequence[int], max_tokens: int, rows: int
    ) -> None:
        cache, ids = DynamicCache(), torch.as_tensor([list(prompt)], device=model.device)
        output = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        self.model, self.max_tokens, self.rows = model, max_tokens, rows
        self.first: Tensor = output.logits[0]  # (1, vocabulary), of the token after the prompt
        self.prompt = [(each.keys[0], each.values[0]) for each in cache.layers]  # (heads, p, d)
        self.answers = [(self._empty(k, 0), self._empty(v, 0)) for k, v in self.prompt]
        self.lengths = np.zeros(0, dtype=np.int64)  # tokens of each row before the new one

    def _empty(self, of_prompt: Tensor, rows: int) -> Tensor:
        heads, _, width = of_prompt.shape
        return of_prompt.new_zeros(rows, heads, self.max_tokens, width)

    def read(self, tokens: np.ndarray, lengths: np.ndarray) -> Tensor:
        """Next-token logits (rows, vocabulary) after one more token in each row.

        `lengths` (rows,) are the tokens that each row has read before.
        """
        self._make_room(len(tokens))
        self.lengths = lengths
        positions = self.prompt[0][0].shape[1] + lengths
        output = self.model(
            input_ids=torch.as_tensor(tokens[:, None], device=self.model.device),
            position_ids=torch.as_tensor(positions[:, None], device=self.model.device),
            use_cache=False,
        )
        return output.logits[:, -1]

    def copy(self, sources: Sequence[int], targets: Sequence[int], length: int) -> None:
        """Let the target rows have read what the source rows read, at most `length` tokens.

        No target is a source.
        """
        self._make_room(max(targets, default=-1) + 1)
        for layer in self.answers:
            for each in layer:
                at, to = (torch.as_tensor(rows, device=each.device) for rows in (sources, targets))
                each[to, :, :length] = each[at, :, :length]

    def _make_room(self, rows: int) -> None:
        have = len(self.answers[0][0])
        if rows > have:
            # Twice as many, so that few are ever moved.
            more = min(max(rows, 2 * have, 64), self.rows) - have
            for layer, of_prompt in enumerate(self.prompt):
                keys, values = (self._empty(each, more) for each in of_prompt)
                old_keys, old_values = self.answers[layer]
                self.answers[layer] = torch.cat([old_keys, keys]), torch.cat([old_values, values])

    def __call__(
        self,
        module: torch.nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: None,
        scaling: float,
        softcap: float | None = None,
        s_aux: Tensor | None = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        """Replace the attention of one layer: (rows, heads, 1, d) to (rows, 1, heads, d).

        Raises TypeError for a model with attention sinks, which this has no place for.
        """
        if s_aux is not None:
            raise TypeError("attention sinks")
        layer = int(module.layer_idx)  # type: ignore[arg-type]
        prompt_keys, prompt_values = self.prompt[layer]
        least, longest = int(self.lengths.min()), int(self.lengths.max())
        keys, values = (each[: len(key), :, : longest + 1] for each in self.answers[layer])
        lengths = torch.as_tensor(self.lengths, device=key.device)
        at = slice(None), slice(None), longest
        if least < longest:
            at = torch.arange(len(key), device=key.device), slice(None), lengths
        keys[at], values[at] = key[:, :, 0], value[:, :, 0]
        asked = query[:, :, 0] * scaling
        asked = asked.unflatten(1, (key.shape[1], -1))  # (rows, heads, group, d)
        of_prompt = _by_head(asked, prompt_keys.transpose(1, 2))
        scores = torch.cat([of_prompt, asked @ keys.transpose(2, 3)], dim=3)
        if softcap is not None:
            scores = (scores / softcap).tanh() * softcap
        if least < longest:
            unseen = torch.arange(longest + 1, device=key.device) > lengths[:, None]
            scores[..., -longest - 1 :].masked_fill_(unseen[:, None, None], float("-inf"))
        weights = scores.softmax(dim=3, dtype=torch.float32).to(query.dtype)
        on_prompt, on_answer = weights.split([prompt_keys.shape[1], longest + 1], dim=3)
        output = _by_head(on_prompt, prompt_values) + on_answer @ values
        return output.flatten(1, 2).unsqueeze(1), None


def _by_head(rows: Tensor, shared: Tensor) -> Tensor:
    """(rows, heads, group, m) x (heads, m, n): one product for all rows, which share the latter."""
    product = rows.transpose(0, 1).flatten(1, 2) @ shared
    return product.unflatten(1, (len(rows), rows.shape[2])).transpose(0, 1)


@torch.inference_mode()
def shares_prompt(model: PreTrainedModel, prompt: Sequence[int], max_tokens: int) -> bool:
    """Whether the model takes this attention: the same logits after one more token.

    It must attend to all of an answer: with a shorter sliding window, or a state in place of keys,
    it does not. Where it fails otherwise, a warning says so.
    """
    if not _attends_to_all(model, len(prompt) + max_tokens):
        return False
    shared = SharedPrompt(model, prompt, 1, rows=1)
    token = shared.first.argmax(dim=1).cpu().numpy()
    ids = torch.as_tensor([[*prompt, *token]], device=model.device)
    usual = model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1]
    try:
        with attending(model, shared):
            found = shared.read(token, np.zeros(1, dtype=np.int64))
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
    else:
        tolerance = 1e-3 if model.dtype == torch.float32 else 0.1
        if (found - usual).abs().max() <= tolerance * usual.abs().max():
            return True
    log.warning("%s does not take a shared prompt: rows are read whole", type(model).__name__)
    return False


def _attends_to_all(model: PreTrainedModel, positions: int) -> bool:
    return all(
        type(layer) is DynamicLayer
        or (type(layer) is DynamicSlidingWindowLayer and layer.sliding_window > positions)
        for layer in DynamicCache(config=model.config).layers
    )
