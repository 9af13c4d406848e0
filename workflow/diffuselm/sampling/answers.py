"""Answers that grow a token at a time, each by uniforms of its own."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffuselm.tree.form import Form

# Logits at a time, by whether on a CPU: what its cache holds, 53 ms in place of 239 for 200 rows of
# 49,152.
_BLOCK = {True: 2**19, False: 2**23}


@dataclass(frozen=True)
class Draw:
    """One sampled answer: its tokens (the end token included) and their log-probability in nats."""

    tokens: tuple[int, ...]
    log_prob: float
    truncated: bool


class Answers:
    """What is drawn so far of every answer; all arrays have a row for each.

    Answer i takes at step t the token in whose share of the cumulative distribution u[t, i] falls,
    so that it depends on no other. With a `form`, each step draws among the tokens that may follow
    in it, and log-probabilities are of that distribution.
    """

    def __init__(
        self,
        draws: int,
        *,
        end_tokens: Collection[int],
        max_tokens: int,
        seed: int,
        temperature: float = 1.0,
        form: Form | None = None,
    ) -> None:
        self.uniforms = np.random.default_rng(seed).random((max_tokens, draws))
        self.ends, self.max_tokens = np.array(sorted(end_tokens)), max_tokens
        self.temperature, self.form = temperature, form
        self.tokens = np.zeros((draws, max_tokens), dtype=np.int64)
        self.lengths = np.zeros(draws, dtype=np.int64)
        self.log_probs = np.zeros(draws)
        self.ended = np.zeros(draws, dtype=bool)
        self.states = np.full(draws, form.start if form else 0)  # in the form

    def take(self, logits: Tensor, draws: Sequence[np.ndarray]) -> None:
        """Draw one more token of some answers: `draws[r]` from row r of (rows, vocabulary) logits.

        The answers of one row have one prefix. Those that have ended stay as they are.
        """
        height = max(1, _BLOCK[logits.device.type == "cpu"] // logits.shape[1])
        for start in range(0, len(logits), height):
            self._take(logits[start : start + height], draws[start : start + height])

    def _take(self, logits: Tensor, draws: Sequence[np.ndarray]) -> None:
        if self.temperature != 1:
            logits = logits / self.temperature
        if self.form is not None:
            logits = self.form.hold(logits, self.states[[own[0] for own in draws]])
        steps = np.minimum(self.lengths, self.max_tokens - 1)
        tokens, log_probs = choose(logits, [self.uniforms[steps[own], own] for own in draws])
        every = np.concatenate(draws)
        running = ~self.ended[every]
        self._add(every[running], tokens[running], log_probs[running])

    def _add(self, draws: np.ndarray, tokens: np.ndarray, log_probs: np.ndarray) -> None:
        self.tokens[draws, self.lengths[draws]] = tokens
        self.lengths[draws] += 1
        self.log_probs[draws] += log_probs
        if self.form is not None:
            self.states[draws] = self.form.next(self.states[draws], tokens)
        whole = self.lengths[draws] == self.max_tokens
        self.ended[draws] = np.isin(tokens, self.ends) | whole

    def branches(self, draws: np.ndarray) -> list[np.ndarray]:
        """Split answers that shared a prefix by their last token, without those that have ended."""
        going_on = draws[~self.ended[draws]]
        if len(going_on) < 2:
            return [going_on][: len(going_on)]
        last = self.tokens[going_on, self.lengths[going_on] - 1]
        return [going_on[last == token] for token in np.unique(last)]

    def drawn(self) -> list[Draw]:
        """The answers, in order."""
        rows = zip(self.tokens, self.lengths, self.log_probs.tolist(), strict=True)
        return [
            Draw(tuple(row[:length].tolist()), log_prob, bool(row[length - 1] not in self.ends))
            for row, length, log_prob in rows
        ]


def choose(logits: Tensor, uniforms: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Invert the cumulative distribution of each row of (rows, vocabulary) logits at its uniforms.

    Returns the tokens of all rows, one after another, and their log-probabilities. Sums are in
    float64: a float32 cumulative sum over a large vocabulary would move the rare tokens.
    """
    counts = np.array([len(u) for u in uniforms])
    filled = np.arange(counts.max()) < counts[:, None]
    at = np.zeros(filled.shape)
    at[filled] = np.concatenate(uniforms)
    logits = logits.float()
    highest = logits.amax(dim=-1, keepdim=True)
    cumulative = (logits - highest).exp_().cumsum(dim=-1, dtype=torch.float64)
    total = cumulative[:, -1:]
    heights = torch.as_tensor(at, device=logits.device) * total
    tokens = torch.searchsorted(cumulative, heights, right=True).clamp(max=logits.shape[1] - 1)
    log_probs = logits.gather(1, tokens).double() - highest - total.log()
    return tokens.cpu().numpy()[filled], log_probs.cpu().numpy()[filled]
