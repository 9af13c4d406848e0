"""The asked form of an answer: outlines-core turns a regular expression into states and steps."""

import re
from collections.abc import Collection, Sequence

import numpy as np
from outlines_core import Index, Vocabulary

from diffuselm.model.answers import HELD_VALUE
from diffuselm.model.chat import ChatFormat
from diffuselm.tree.form import Form

_BETWEEN = r"\s{0,2}"  # two values


def asked_form(
    chat: ChatFormat, vocabulary: int, fields: int, openings: Sequence[str], around: tuple[str, str]
) -> Form:
    """The form of `fields` braced values after one of `openings`, and then the end.

    `around` is what the chat template writes before and after an answer, `vocabulary` the number
    of the model's logits.
    """
    before, after = map(re.escape, around)
    begun = "|".join(map(re.escape, openings))
    values = _BETWEEN.join([HELD_VALUE] * fields)
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
