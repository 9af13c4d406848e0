"""Answers that grow a token at a time, each by uniforms of its own."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

import numpy as np
import torch
from torch import Tensor

from diffuselm.tree.form import Form
from diffuselm.tree.layouts import Warp
from diffuselm.tree.objective import rows_at_a_time


@dataclass(frozen=True)
class Question:
    """The tokens of a prompt, how many answers are drawn to it, and the seed of their uniforms."""

    prompt: Sequence[int]
    draws: int
    seed: int


@dataclass(frozen=True)
class Draw:
    """One sampled answer: its tokens (the end token included) and their log-probability in nats."""

    tokens: tuple[int, ...]
    log_prob: float
    truncated: bool


class Answers:
    """What is known so far of every answer, one question's after another's.

    All arrays have a row for each. Its tokens begin with what its prompt has after `shared`, the
    tokens that all prompts begin with, and go on with what is drawn. Answer i takes at step t the
    token in whose share of the cumulative distribution u[t, i] falls, so that it depends on no
    other.

    Logits first become those of `warp`, if there is one. With a `form`, each step draws among the
    tokens that may follow in it. Log-probabilities are of the distribution that is drawn from.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        *,
        end_tokens: Collection[int],
        max_tokens: int,
        warp: Warp | None = None,
        form: Form | None = None,
    ) -> None:
        counts = [question.draws for question in questions]
        self.uniforms = np.concatenate(
            [np.random.default_rng(q.seed).random((max_tokens, q.draws)) for q in questions], axis=1
        )
        self.ends, self.max_tokens = np.array(sorted(end_tokens)), max_tokens
        self.warp, self.form = warp, form
        self.shared = common_start([question.prompt for question in questions])
        own = [question.prompt[len(self.shared) :] for question in questions]
        self.begin = np.repeat([len(tokens) for tokens in own], counts)
        self.tokens = np.zeros((sum(counts), self.begin.max() + max_tokens), dtype=np.int64)
        for tokens, rows in zip(own, np.split(self.tokens, np.cumsum(counts)[:-1]), strict=True):
            rows[:, : len(tokens)] = tokens
        self.lengths = self.begin.copy()
        self.settled = np.zeros(sum(counts), dtype=np.int64)  # tokens that have found their branch
        self.log_probs = np.zeros(sum(counts))
        self.ended = np.zeros(sum(counts), dtype=bool)
        self.states = np.full(sum(counts), form.start if form else 0)  # in the form
        self._counts = counts

    def groups(self) -> list[np.ndarray]:
        """All answers, apart where their prompts differ in length."""
        return [np.flatnonzero(self.begin == length) for length in np.unique(self.begin)]

    def take(self, logits: Tensor, draws: Mapping[int, np.ndarray]) -> dict[int, list[np.ndarray]]:
        """Let some answers go on by a token: `draws[r]` after row r of (rows, vocabulary) logits.

        The answers of one row have one prefix. Where a prompt goes on, so does the answer; else it
        draws. Returns the branches of each row, without the answers that have ended.
        """
        drawing = [row for row, own in draws.items() if self._drawing(own).any()]
        height = rows_at_a_time(logits)
        for start in range(0, len(drawing), height):
            rows = drawing[start : start + height]
            self._draw(logits[rows], [draws[row][self._drawing(draws[row])] for row in rows])
        for own in draws.values():
            self.settled[own] += 1
        return {row: self._branches(own) for row, own in draws.items()}

    def _drawing(self, draws: np.ndarray) -> np.ndarray:
        return self.settled[draws] == self.lengths[draws]

    def _draw(self, logits: Tensor, draws: Sequence[np.ndarray]) -> None:
        if self.form is not None:
            logits = self.form.hold(logits, self.states[[own[0] for own in draws]])
        if self.warp is not None:
            logits = self.warp(logits)
        every = np.concatenate(draws)
        steps = self.lengths - self.begin
        tokens, log_probs = choose(logits, [self.uniforms[steps[own], own] for own in draws])
        self.tokens[every, self.lengths[every]] = tokens
        self.lengths[every] += 1
        self.log_probs[every] += log_probs
        if self.form is not None:
            self.states[every] = self.form.next(self.states[every], tokens)
        whole = steps[every] + 1 == self.max_tokens
        self.ended[every] = np.isin(tokens, self.ends) | whole

    def _branches(self, draws: np.ndarray) -> list[np.ndarray]:
        """Split answers that shared a prefix by their next token, without those that have ended."""
        going_on = draws[~self.ended[draws]]
        if len(going_on) < 2:
            return [going_on][: len(going_on)]
        last = self.tokens[going_on, self.settled[going_on] - 1]
        return [going_on[last == token] for token in np.unique(last)]

    def drawn(self) -> list[list[Draw]]:
        """The answers to each question, in order."""
        answers = [
            Draw(tuple(row[begin:end].tolist()), log_prob, bool(row[end - 1] not in self.ends))
            for row, begin, end, log_prob in zip(
                self.tokens, self.begin, self.lengths, self.log_probs.tolist(), strict=True
            )
        ]
        first = np.cumsum([0, *self._counts])
        return [answers[start:end] for start, end in pairwise(first)]


def common_start(sequences: Sequence[Sequence[int]]) -> list[int]:
    """The tokens that all sequences begin with."""
    columns = zip(*sequences, strict=False)
    return [column[0] for column in takewhile(lambda column: len({*column}) == 1, columns)]


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
