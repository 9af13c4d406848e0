"""Tree sampling: N answers, each distinct prefix of them forwarded once."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from diffuselm.sampling.answers import Answers, Draw, Question, common_start
from diffuselm.sampling.shared_prompt import SharedPrompt, shares_prompt
from diffuselm.tree.attention import attending
from diffuselm.tree.token_budget import ROW

Sampler = Callable[..., list[list[Draw]]]


def choose_sampler(model: PreTrainedModel, prompt: Sequence[int], max_tokens: int) -> Sampler:
    """`sample`, or `sample_whole` for a model that cannot share a prompt, with a warning.

    `prompt` and `max_tokens` are the longest that it will be asked.
    """
    return sample if shares_prompt(model, prompt, max_tokens) else sample_whole


@torch.inference_mode()
def sample(
    model: PreTrainedModel, questions: Sequence[Question], *, token_budget: int, **options: Any
) -> list[list[Draw]]:
    """Draw independent answers to each question; `options` are those of `Answers`.

    Draws that share a prefix share the row that reads it, a token a pass; where they part, each
    branch has a row that begins with a copy of what was read. All rows share one copy of what all
    prompts begin with: of a single prompt, the whole. The outcome of each draw depends neither on
    the others nor, but for rounding, on how many rows there are (see `Answers`).

    `token_budget` bounds the positions in memory: what is shared, and an answer's tokens for each
    row. A branch that finds no row free waits for one, and is read from its first token.
    """
    if len(questions) > 1 and not common_start([question.prompt for question in questions]):
        apart = (sample(model, [q], token_budget=token_budget, **options) for q in questions)
        return [drawn for [drawn] in apart]
    answers = Answers(questions, **options)
    draws, length = answers.tokens.shape
    width = min(draws, max(1, (token_budget - len(answers.shared)) // max(length, ROW)))
    shared = SharedPrompt(model, answers.shared, length, rows=width)
    groups = answers.groups()
    parts = answers.take(shared.first.expand(len(groups), -1), dict(enumerate(groups)))
    rows = _Rows(width, waiting=[*chain.from_iterable(parts.values())])
    with attending(model, shared):
        while rows.place(shared):
            first = [rows.draws[row][0] for row in range(len(rows.draws))]
            read = rows.read[: len(first)]
            logits = shared.read(answers.tokens[first, read], read)
            read += 1
            # The others read again what a row before them has read.
            new = np.flatnonzero(read == answers.settled[first])
            for row, branches in answers.take(logits, {r: rows.draws[r] for r in new}).items():
                rows.part(row, branches)
    return answers.drawn()


class _Rows:
    """Which prefix each row reads, and the prefixes that wait for a row."""

    def __init__(self, width: int, waiting: list[np.ndarray]) -> None:
        self.width = width
        self.draws: dict[int, np.ndarray] = {}  # row -> the draws through its prefix
        self.read = np.zeros(width, dtype=np.int64)  # tokens that each row has read
        self.parted: list[tuple[int, np.ndarray]] = []  # a branch, after the row that it comes from
        self.waiting = waiting

    def part(self, row: int, branches: list[np.ndarray]) -> None:
        """Let a row go on with its first branch, if there is any; the others need a row each."""
        del self.draws[row]
        if branches:
            self.draws[row], *others = branches
            self.parted += [(row, branch) for branch in others]

    def place(self, shared: SharedPrompt) -> bool:
        """Fill the first rows, without a gap, as far as they go; False where all is done."""
        total = min(self.width, len(self.draws) + len(self.parted) + len(self.waiting))
        moved = [(row, self.draws.pop(row)) for row in sorted(self.draws) if row >= total]
        moved, self.parted = moved + self.parted, []
        free = [row for row in range(total) if row not in self.draws]
        self.waiting += [draws for _, draws in moved[len(free) :]]
        copied = dict(zip(free, moved, strict=False))
        if copied:
            sources, targets = [source for source, _ in copied.values()], list(copied)
            shared.copy(sources, targets, int(self.read[sources].max()))
            self.read[targets] = self.read[sources]
            self.draws |= {row: draws for row, (_, draws) in copied.items()}
        for row in free[len(copied) :]:
            self.draws[row], self.read[row] = self.waiting.pop(), 0
        return total > 0


@torch.inference_mode()
def sample_whole(
    model: PreTrainedModel, questions: Sequence[Question], *, token_budget: int, **options: Any
) -> list[list[Draw]]:
    """The same answers, for any causal model: each prefix is read whole, with nothing shared."""
    return [_one_by_one(model, question, token_budget, **options) for question in questions]


def _one_by_one(
    model: PreTrainedModel, question: Question, token_budget: int, **options: Any
) -> list[Draw]:
    answers, prompt = Answers([question], **options), np.asarray(question.prompt)
    width = max(1, token_budget // (len(prompt) + answers.max_tokens))
    waiting = answers.groups()
    while waiting:
        length = answers.settled[waiting[-1][0]]
        # The longest first, and as many of one length as there are.
        same = [own for own in waiting[-width:] if answers.settled[own[0]] == length]
        del waiting[-len(same) :]
        prefixes = answers.tokens[[own[0] for own in same], :length]
        ids = np.concatenate([np.tile(prompt, (len(same), 1)), prefixes], axis=1)
        output = model(
            input_ids=torch.as_tensor(ids, device=model.device), use_cache=False, logits_to_keep=1
        )
        parts = answers.take(output.logits[:, -1], dict(enumerate(same)))
        waiting += chain.from_iterable(parts.values())
    [drawn] = answers.drawn()
    return drawn
