"""Prompts and target sets as a model reads them: token ids and prefix trees."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from diffuselm.errors import InputError
from diffuselm.model.answers import first_value, is_valid
from diffuselm.model.chat import ChatFormat
from diffuselm.tasks.prompts import Prompt
from diffuselm.tasks.target_sets import read_prompts
from diffuselm.tasks.texts import TargetSet
from diffuselm.tree.prefix_tree import PrefixTree, build


@dataclass(frozen=True, eq=False)
class EncodedPrompt:
    """A prompt as token ids and its target set as a prefix tree."""

    prompt: Prompt
    tokens: Sequence[int]
    tree: PrefixTree  # a leaf for each way to write the first target, then the second, ...
    around: tuple[str, str] = ("", "")  # what the chat template writes before and after an answer
    target: np.ndarray | None = None  # (leaves,) each leaf's target; None: a leaf for each

    @property
    def id(self) -> str:
        """The prompt's id."""
        return self.prompt.id

    @property
    def targets(self) -> Sequence[str]:
        """Its targets, as in their file."""
        return self.prompt.targets.texts

    def with_targets(self, kept: Sequence[int]) -> "EncodedPrompt":
        """The prompt with some of its targets, in order, their weights summing to 1."""
        leaves = np.flatnonzero(np.isin(self._target, kept))
        weights = self.tree.mass[self.tree.leaf[leaves]]
        tree = build([self.tree.sequence(leaf) for leaf in leaves], weights / weights.sum())
        texts, shares = self.targets, self.prompt.targets.weights
        targets = TargetSet.of([texts[t] for t in kept], [shares[t] for t in kept])
        target = np.searchsorted(kept, self._target[leaves])
        prompt = self.prompt.model_copy(update={"targets": targets})
        return replace(self, prompt=prompt, tree=tree, target=target)

    @property
    def _target(self) -> np.ndarray:
        return np.arange(len(self.targets)) if self.target is None else self.target

    def per_target(self, log_probs: np.ndarray) -> list[tuple[str, float, float]]:
        """Text, probability and weight of each target, in whichever way it is written.

        `log_probs`, shape (leaves,), are those of the tree's leaves, in nats.
        """
        there = len(self.targets)
        probabilities = np.bincount(self._target, np.exp(log_probs), there)
        weights = np.bincount(self._target, self.tree.mass[self.tree.leaf], there)
        return list(zip(self.targets, probabilities.tolist(), weights.tolist(), strict=True))

    def read(self, text: str, *, ended: bool) -> tuple[str | None, bool]:
        """The value of an answer, and whether it is valid.

        Where answers are taken whole, any that says something and ended by itself is valid.
        """
        asked, reading = self.prompt, self.prompt.reading
        value, valid = first_value(text), is_valid(text, ended, asked.fields, asked.openings)
        if reading is None:
            return value, valid
        if reading.whole:
            value = reading.answer(value or text)
            return value, ended and value is not None
        return reading.answer(value), valid


def text_ids(tokenizer: PreTrainedTokenizerBase, paragraph: str) -> list[int]:
    """Token ids of plain text after the BOS token, or after the first end token without one."""
    start = tokenizer.bos_token_id
    start = tokenizer.eos_token_id if start is None else start
    return [start, *tokenizer(paragraph, add_special_tokens=False)["input_ids"]]


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
    return [
        encode_prompt(chat, prompt) for prompt in read if prompts is None or prompt.id in prompts
    ]


def encode_prompt(chat: ChatFormat, prompt: Prompt) -> EncodedPrompt:
    """Encode a prompt with its target set; raises InputError as `encode_prompts` does."""
    written = [_written(prompt, text) for text in prompt.targets.texts]
    ways = np.array([len(its) for its in written], dtype=np.int64)
    weights = np.repeat(np.array(prompt.targets.weights) / ways, ways)
    try:
        tree = build(_token_ids(chat, prompt, list(chain(*written))), weights)
    except InputError as error:
        raise InputError(f"{prompt.id}, as tokens of this model: {error}") from error
    tokens, around = chat.prompt_ids(prompt.text), chat.around(prompt.text)
    return EncodedPrompt(prompt, tokens, tree, around, np.repeat(np.arange(len(ways)), ways))


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
