"""Prompts and target sets as a model reads them: token ids and prefix trees."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from diffuselm.errors import InputError
from diffuselm.model.answers import first_value, is_valid
from diffuselm.model.chat import ChatFormat
from diffuselm.tasks.prompts import Prompt
from diffuselm.tasks.readings import Reading
from diffuselm.tasks.target_sets import read_prompts
from diffuselm.tree.prefix_tree import PrefixTree, build


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as token ids and its target set as a prefix tree."""

    id: str
    tokens: Sequence[int]
    targets: Sequence[str]  # as in the targets' file
    tree: PrefixTree  # a leaf for each way to write the first target, then the second, ...
    fields: int  # braced values of an answer
    openings: Sequence[str] = ("",)  # before a target, each with an even share of its weight
    around: tuple[str, str] = ("", "")  # what the chat template writes before and after an answer
    target: np.ndarray | None = None  # (leaves,) each leaf's target; None: a leaf for each
    reading: Reading | None = None  # of answers to a prompt from outside

    def per_target(self, log_probs: np.ndarray) -> list[tuple[str, float, float]]:
        """Text, probability and weight of each target, in whichever way it is written.

        `log_probs`, shape (leaves,), are those of the tree's leaves, in nats.
        """
        target = np.arange(len(self.targets)) if self.target is None else self.target
        probabilities = np.bincount(target, np.exp(log_probs), len(self.targets))
        weights = np.bincount(target, self.tree.mass[self.tree.leaf], len(self.targets))
        return list(zip(self.targets, probabilities.tolist(), weights.tolist(), strict=True))

    def read(self, text: str, *, ended: bool) -> tuple[str | None, bool]:
        """The value of an answer, and whether it is valid.

        Where answers are taken whole, any that says something and ended by itself is valid.
        """
        value, valid = first_value(text), is_valid(text, ended, self.fields, self.openings)
        if self.reading is None:
            return value, valid
        if self.reading.whole:
            value = self.reading.answer(value or text)
            return value, ended and value is not None
        return self.reading.answer(value), valid


def encode_prompts(
    chat: ChatFormat, targets: Sequence[Path], prompts: Sequence[str] | None = None
) -> list[EncodedPrompt]:
    """Encode the prompts that stage `targets` wrote, or those named, in its order.

    Raises InputError for a name without a prompt, and where a target set, as this model's tokens,
    is not prefix-free.
    """
    read = read_prompts(targets)
    if unknown := set(prompts or ()) - {prompt.id for prompt in read}:
        raise InputError(
            f"unknown prompts {sorted(unknown)}; expected those of {', '.join(map(str, targets))}"
        )
    return [_encode(chat, prompt) for prompt in read if prompts is None or prompt.id in prompts]


def _encode(chat: ChatFormat, prompt: Prompt) -> EncodedPrompt:
    texts = prompt.targets.texts
    written = [_written(prompt, text) for text in texts]
    ways = np.array([len(its) for its in written], dtype=np.int64)
    weights = np.repeat(np.array(prompt.targets.weights) / ways, ways)
    try:
        tree = build(_token_ids(chat, prompt, list(chain(*written))), weights)
    except InputError as error:
        raise InputError(f"{prompt.id}, as tokens of this model: {error}") from error
    return EncodedPrompt(
        prompt.id,
        chat.prompt_ids(prompt.text),
        texts,
        tree,
        prompt.fields,
        prompt.openings,
        chat.around(prompt.text),
        target=np.repeat(np.arange(len(texts)), ways),
        reading=prompt.reading,
    )


def _written(prompt: Prompt, text: str) -> list[str]:
    """The ways to write a target: after each opening, or in each spelling; its weight is spread."""
    if prompt.reading is not None:
        return prompt.reading.written(text)
    whole = text if prompt.fields > 1 else f"{{{text}}}"
    return [f"{opening}{whole}" for opening in prompt.openings]


def _token_ids(chat: ChatFormat, prompt: Prompt, answers: Sequence[str]) -> list[list[int]]:
    """Token ids of the answers, with the end token where the prompt says."""
    if not answers:  # a tokenizer takes one or more
        return []
    if prompt.fields > 1:
        return chat.opening_ids(prompt.text, answers)
    encode = chat.answer_ids if prompt.ends else chat.endless_ids
    return encode(prompt.text, answers)
