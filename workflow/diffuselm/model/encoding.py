"""Prompts and target sets as a model reads them: token ids and prefix trees."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffuselm.errors import InputError
from diffuselm.files import contracts
from diffuselm.model.chat import ChatFormat
from diffuselm.tasks.tasks import Prompt, load_task
from diffuselm.tree.prefix_tree import PrefixTree, build


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as token ids and its target set as a prefix tree."""

    id: str
    tokens: Sequence[int]
    targets: Sequence[str]  # as in the targets' file
    tree: PrefixTree  # a leaf for each opening of the first target, then of the second, ...
    fields: int  # braced values of an answer
    openings: Sequence[str] = ("",)  # before a target, each with an even share of its weight
    around: tuple[str, str] = ("", "")  # what the chat template writes before and after an answer

    def per_target(self, log_probs: np.ndarray) -> list[tuple[str, float, float]]:
        """Text, probability and weight of each target, whichever opening stands before it.

        `log_probs`, shape (targets x openings,), are those of the tree's leaves, in nats.
        """
        shape = len(self.targets), len(self.openings)
        probabilities = np.exp(log_probs).reshape(shape).sum(axis=1)
        weights = self.tree.mass[self.tree.leaf].reshape(shape).sum(axis=1)
        return list(zip(self.targets, probabilities.tolist(), weights.tolist(), strict=True))


def encode_prompts(
    chat: ChatFormat, tasks: Sequence[Path], targets: Sequence[Path], prompts: Sequence[str]
) -> list[EncodedPrompt]:
    """Encode the given prompts, or all of the tasks' where none is given, in the tasks' order.

    Raises InputError where a target set, as this model's tokens, is not prefix-free.
    """
    target_sets = contracts.concatenate(targets, contracts.TARGETS).to_pandas()
    by_prompt = dict(list(target_sets.groupby("prompt", sort=False)))
    encoded = []
    for prompt in (prompt for path in tasks for prompt in load_task(path)):
        if prompts and prompt.id not in prompts:
            continue
        if prompt.id not in by_prompt:
            raise InputError(
                f"{', '.join(map(str, targets))}: no targets of {prompt.id}; expected its target "
                "set"
            )
        rows = by_prompt[prompt.id]
        answers = _answers(chat, prompt, rows["text"])
        weights = np.repeat(rows["weight"].to_numpy() / len(prompt.openings), len(prompt.openings))
        try:
            tree = build(answers, weights)
        except InputError as error:
            raise InputError(f"{prompt.id}, as tokens of this model: {error}") from error
        tokens, texts = chat.prompt_ids(prompt.text), tuple(rows["text"])
        around = chat.around(prompt.text)
        encoded.append(
            EncodedPrompt(prompt.id, tokens, texts, tree, prompt.fields, prompt.openings, around)
        )
    if missing := set(prompts) - {prompt.id for prompt in encoded}:
        raise InputError(f"unknown prompts {sorted(missing)}; expected those of the task files")
    return encoded


def _answers(chat: ChatFormat, prompt: Prompt, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of every target after every opening, with the end token where the prompt says."""
    if prompt.fields > 1:
        begun = [f"{opening}{text}" for text in texts for opening in prompt.openings]
        return chat.opening_ids(prompt.text, begun)
    whole = [f"{opening}{{{text}}}" for text in texts for opening in prompt.openings]
    encode = chat.answer_ids if prompt.ends else chat.endless_ids
    return encode(prompt.text, whole)
