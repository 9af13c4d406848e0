"""Prompts and target sets as a model reads them: token ids and prefix trees."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffuselm import contracts
from diffuselm.chat import ChatFormat
from diffuselm.errors import InputError
from diffuselm.prefix_tree import PrefixTree, build
from diffuselm.tasks import load_task


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as token ids and its target set as a prefix tree."""

    id: str
    tokens: Sequence[int]
    targets: Sequence[str]  # as in the targets' file, in the order of the tree's leaves
    tree: PrefixTree
    fields: int  # braced values of an answer


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
        rows = by_prompt[prompt.id]
        if prompt.fields == 1:
            answers = chat.answer_ids(prompt.text, [f"{{{text}}}" for text in rows["text"]])
        else:
            answers = chat.opening_ids(prompt.text, rows["text"].tolist())
        try:
            tree = build(answers, rows["weight"])
        except InputError as error:
            raise InputError(f"{prompt.id}, as tokens of this model: {error}") from error
        tokens = chat.prompt_ids(prompt.text)
        encoded.append(
            EncodedPrompt(prompt.id, tokens, tuple(rows["text"]), tree, fields=prompt.fields)
        )
    if missing := set(prompts) - {prompt.id for prompt in encoded}:
        raise InputError(f"unknown prompts {sorted(missing)}; expected those of the task files")
    return encoded
