"""Answers that grow a token at a time, each by uniforms of its own."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffuselm.tree.form import Form


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
        logits = logits / self.temperature
        if self.form is not None:
            logits = self.form.hold(logits, self.states[[own[0] for own in draws]])
        steps = np.minimum(self.lengths, self.max_tokens - 1)
        picks = choose(logits, [self.uniforms[steps[own], own] for own in draws])
        tokens, log_probs = (np.concatenate(picked) for picked in zip(*picks, strict=True))
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


def choose(
    logits: Tensor, uniforms: Sequence[np.ndarray], block: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Invert the cumulative distribution of each row of (rows, vocabulary) logits at its uniforms.

    Yields a row's (draws,) tokens and their log-probabilities. In float64: a float32 cumulative
    sum over a large vocabulary would move the rare tokens. `block` bounds the float64 logits, by
    default to what a CPU's cache holds: 53 ms in place of 239 for 200 rows of 49,152.
    """
    block = block or (2**19 if logits.device.type == "cpu" else 2**23)
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
