"""The asked form of an answer as an automaton over a model's tokens, to hold answers to it.

outlines-core turns a regular expression into states and steps. A state belongs to a prefix of
tokens, so that a walk over a prefix tree carries one number a node.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from outlines_core import Index, Vocabulary
from torch import Tensor

from diffuselm.chat import ChatFormat
from diffuselm.prefix_tree import PrefixTree

# A value starts with neither space nor brace, and is one line without a brace.
_VALUE = r"\{[^{}\s][^{}\n\r]*\}"
_BETWEEN = r"\s{0,2}"  # two values


@dataclass(frozen=True)
class Form:
    """The tokens that may follow in each state, and the state after each of them."""

    step: np.ndarray  # (states, vocabulary) int64: the next state, -1 where a token may not follow
    start: int

    def next(self, states: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """The states after one more token each, shapes (rows,); -1 stays -1."""
        return np.where(states < 0, -1, self.step[states, tokens])

    def hold(self, logits: Tensor, states: np.ndarray) -> Tensor:
        """(rows, vocabulary) logits with -inf for each token that may not follow in its row.

        Where the form was left before, in state -1, they stay as they are.
        """
        allowed = torch.from_numpy((self.step[states] >= 0) | (states < 0)[:, None])
        return logits.masked_fill(~allowed.to(logits.device), float("-inf"))

    def of_nodes(self, tree: PrefixTree) -> np.ndarray:
        """(n + 1,) state of the root, then of each node of the tree."""
        states = np.full(len(tree) + 1, self.start)
        for node, parent in enumerate(tree.parent + 1):
            states[node + 1] = self.next(states[parent], tree.token[node])
        return states


def asked_form(
    chat: ChatFormat, vocabulary: int, fields: int, openings: Sequence[str], around: tuple[str, str]
) -> Form:
    """The form of `fields` braced values after one of `openings`, and then the end.

    `around` is what the chat template writes before and after an answer, `vocabulary` the number
    of the model's logits.
    """
    before, after = map(re.escape, around)
    begun = "|".join(map(re.escape, openings))
    values = _BETWEEN.join([_VALUE] * fields)
    return _automaton(f"{before}({begun}){values}{after}", chat, vocabulary)


def _automaton(pattern: str, chat: ChatFormat, vocabulary: int) -> Form:
    added = chat.tokenizer.added_tokens_decoder
    special = {token for token, how in added.items() if how.special}
    texts = _texts(chat, vocabulary, {*chat.end_tokens, *chat.tokenizer.all_special_ids, *special})
    index = Index(pattern, Vocabulary(chat.end_tokens[0], texts))
    transitions = index.get_transitions()
    finals = index.get_final_states()
    number = {state: at for at, state in enumerate(sorted({*transitions, *finals}))}
    ended = len(number)  # nothing follows
    step = np.full((ended + 1, vocabulary), -1)
    for state, following in transitions.items():
        for token, to in following.items():
            if token not in chat.end_tokens:
                step[number[state], token] = number[to]
    for state in finals:
        step[number[state], list(chat.end_tokens)] = ended
    return Form(step, number[index.get_initial_state()])


def _texts(chat: ChatFormat, vocabulary: int, special: Collection[int]) -> dict[str, list[int]]:
    """The ordinary tokens by what they write; of a part of a character, a mark in its place."""
    texts: dict[str, list[int]] = {}
    for token in range(min(len(chat.tokenizer), vocabulary)):
        if token not in special and (text := chat.decode([token])):
            texts.setdefault(text, []).append(token)
    return texts
