"""Prompt search: rewordings of a prompt by the bare model, scored by the model that answers."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import entr

from diffuselm.files.seeds import derive
from diffuselm.methods.prompt_search import PromptSearch
from diffuselm.model.encoding import EncodedPrompt, encode_prompt
from diffuselm.model.opening import OpenModel
from diffuselm.sampling.answers import Question
from diffuselm.sampling.asking import Asking
from diffuselm.sampling.tree_sampling import choose_sampler

ROOM = 64  # tokens of a rewording


def wordings(
    method: PromptSearch, bare: OpenModel, asking: Asking, prompt: EncodedPrompt
) -> Iterator[dict[str, Any]]:
    """Every wording, with the exact entropy (nats) on either half of the targets: `WORDINGS`.

    The first, which is the original, bears the tokens of all replies; each those of its scoring.
    """
    asked = bare.chat.prompt_ids(method.request(prompt.prompt.text))
    seed = derive(asking.seed, "reword", bare.name, prompt.id)
    by = choose_sampler(bare.model, asked, ROOM)
    [replies] = by(
        bare.model,
        [Question(asked, method.rewordings, seed)],
        token_budget=asking.sampling.tokens,
        end_tokens=bare.chat.end_tokens,
        max_tokens=ROOM,
    )
    said = [bare.chat.decode(reply.tokens) for reply in replies if not reply.truncated]
    spent = method.rewordings * len(asked), sum(len(reply.tokens) for reply in replies)
    for text in method.wordings(prompt.prompt.text, said):
        other = worded(asking, prompt, text)
        scored = np.array([row["probability"] for row in asking.exact(other)])
        # What these targets add to the entropy of an answer: among them alone, a wording that asks
        # for something else would look best.
        halves = {"entropy": entr(scored[::2]).sum(), "entropy_other": entr(scored[1::2]).sum()}
        read, written = spent
        yield {
            "prompt": prompt.id,
            "text": text,
            **{name: float(half) for name, half in halves.items()},
            "tokens_read": read + asking.layout.tokens_read(len(other.tokens), other.tree),
            "tokens_written": written,
        }
        spent = 0, 0


def worded(asking: Asking, prompt: EncodedPrompt, text: str) -> EncodedPrompt:
    """The prompt in other words, with the same targets."""
    other = prompt.prompt.model_copy(update={"text": text})
    return encode_prompt(asking.opened.chat, other)
