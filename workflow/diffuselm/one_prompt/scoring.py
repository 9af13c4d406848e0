"""A model asked one prompt: the exact probability of each answer, and what it says instead."""

import math
import sys
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tqdm import tqdm

from diffuselm.config.sample import AnswerSettings
from diffuselm.measure.metrics import entropy_exact, target_mass
from diffuselm.model.encoding import EncodedPrompt
from diffuselm.model.opening import OpenModel
from diffuselm.progress import progress
from diffuselm.sampling.asking import Asking
from diffuselm.tree.layouts import score
from diffuselm.tree.prefix_tree import PrefixTree, optimal_loss, subtree

DRAWS = 100  # answers, to see what else a model says
ROOM = 16  # tokens of a drawn answer at least


@dataclass(frozen=True)
class Scores:
    """The exact probabilities of a prompt's answers, each as the model itself would spell it."""

    prompt: EncodedPrompt
    log_probs: np.ndarray  # (answers,) float64, nats

    @property
    def probabilities(self) -> np.ndarray:
        """Eq. 1 of each answer, shape (answers,)."""
        return np.exp(self.log_probs)

    @property
    def weights(self) -> np.ndarray:
        """The share that each answer should have, shape (answers,)."""
        return self.prompt.tree.mass[self.prompt.tree.leaf]

    @cached_property
    def summary(self) -> dict[str, float]:
        """Target mass; entropy of an answer that is in the list, and KL divergence (Eq. 2), nats.

        The divergence is from logarithms: the probability of a long answer can be below a float's.
        """
        loss = -math.fsum(self.weights * self.log_probs)
        return {
            "target mass": target_mass(self.weights, self.probabilities),
            "entropy": entropy_exact(self.weights, self.probabilities),
            "KL divergence": loss - optimal_loss(self.prompt.tree),
        }

    @property
    def best(self) -> dict[str, float]:
        """The same of a model whose answers are the list's, in its shares."""
        optimum = optimal_loss(self.prompt.tree)
        return {"target mass": 1.0, "entropy": optimum, "KL divergence": 0.0}


def asking(opened: OpenModel, prompt: EncodedPrompt, seed: int) -> Asking:
    """The model with what it is asked, and how answers are drawn."""
    room = max(ROOM, int(prompt.tree.depth.max()) + 1)
    settings = AnswerSettings(draws={prompt.id: DRAWS}, max_tokens={prompt.id: room})
    return Asking(opened, prompt.id, [prompt], settings, seed)


def scores(asked: Asking) -> Scores:
    """Score the answers of the one prompt."""
    (prompt,) = asked.prompts
    with progress(total=len(prompt.targets), unit="answers") as bar:
        return Scores(prompt, log_probs(asked, prompt.tree, bar))


def log_probs(asked: Asking, tree: PrefixTree, bar: tqdm) -> np.ndarray:
    """Eq. 1 of each leaf of a tree after the prompt, shape (leaves,), in nats."""
    model, tokens, done = asked.opened.model, asked.prompts[0].tokens, bar.n

    def attempt(budget: int) -> np.ndarray:
        found, bar.n = np.empty(len(tree.leaf)), done
        for part in asked.layout.split(len(tokens), tree, budget):
            found[part] = score(model, tokens, subtree(tree, part), asked.layout, budget)
            bar.update(len(part))
        return found

    return asked.scoring.attempt(attempt)


@dataclass(frozen=True)
class Drawn:
    """Answers that were drawn: of the list, and others, the likeliest first, with their counts."""

    listed: Counter[str]
    others: Counter[str]


def drawn(asked: Asking) -> Drawn:
    """Draw DRAWS answers at temperature 1; those that go on too long end in an ellipsis."""
    (prompt,) = asked.prompts
    print(f"drawing {DRAWS} answers", file=sys.stderr)
    written = _written(prompt)
    rows = sorted(asked.samples(prompt), key=lambda row: -row["logprob"])
    texts = [row["text"] + "…" * row["truncated"] for row in rows]
    listed = Counter(written[text] for text in texts if text in written)
    return Drawn(listed, Counter(text for text in texts if text not in written))


def _written(prompt: EncodedPrompt) -> dict[str, str]:
    """What the model writes for each answer: what the chat template puts around it, too."""
    before, after = prompt.around
    return {before + text + after: text for text in prompt.targets}
