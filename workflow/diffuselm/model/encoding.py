"""Prompts and target sets as a model reads them: token ids and prefix trees."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from diffuselm.errors import InputError
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
    tree: PrefixTree  # a leaf for each opening of the first target, then of the second, ...
    around: tuple[str, str] = ("", "")  # what the chat template writes before and after an answer

    @property
    def id(self) -> str:
        """The prompt's id."""
        return self.prompt.id

    @property
    def targets(self) -> Sequence[str]:
        """Its targets, as in their file."""
        return self.prompt.targets.texts

    def with_targets(self, kept: Sequence[int]) -> "EncodedPrompt":
        """The prompt with some of its targets, their weights summing to 1."""
        openings = len(self.prompt.openings)
        leaves = [target * openings + opening for target in kept for opening in range(openings)]
        weights = self.tree.mass[self.tree.leaf[leaves]]
        tree = build([self.tree.sequence(leaf) for leaf in leaves], weights / weights.sum())
        texts, shares = self.targets, self.prompt.targets.weights
        targets = TargetSet.of([texts[t] for t in kept], [shares[t] for t in kept])
        return replace(self, prompt=self.prompt.model_copy(update={"targets": targets}), tree=tree)

    def per_target(self, log_probs: np.ndarray) -> list[tuple[str, float, float]]:
        """Text, probability and weight of each target, whichever opening stands before it.

        `log_probs`, shape (targets x openings,), are those of the tree's leaves, in nats.
        """
        shape = len(self.targets), len(self.prompt.openings)
        probabilities = np.exp(log_probs).reshape(shape).sum(axis=1)
        weights = self.tree.mass[self.tree.leaf].reshape(shape).sum(axis=1)
        return list(zip(self.targets, probabilities.tolist(), weights.tolist(), strict=True))


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
    openings = prompt.openings
    weights = np.repeat(np.array(prompt.targets.weights) / len(openings), len(openings))
    try:
        tree = build(_answers(chat, prompt), weights)
    except InputError as error:
        raise InputError(f"{prompt.id}, as tokens of this model: {error}") from error
    tokens, around = chat.prompt_ids(prompt.text), chat.around(prompt.text)
    return EncodedPrompt(prompt, tokens, tree, around)


def _answers(chat: ChatFormat, prompt: Prompt) -> list[list[int]]:
    """Token ids of every target after every opening, with the end token where the prompt says."""
    pairs = [(opening, text) for text in prompt.targets.texts for opening in prompt.openings]
    if prompt.fields > 1:
        return chat.opening_ids(prompt.text, [f"{opening}{text}" for opening, text in pairs])
    encode = chat.answer_ids if prompt.ends else chat.endless_ids
    return encode(prompt.text, [f"{opening}{{{text}}}" for opening, text in pairs])
