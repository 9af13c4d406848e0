"""Distribution matching (section 3): one optimiser step per prompt, shuffled each pass."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from diffuselm.config.tune import LoraSettings
from diffuselm.errors import NonFiniteLossError
from diffuselm.files.seeds import derive
from diffuselm.methods.ours import Ours
from diffuselm.methods.training import Training
from diffuselm.model.adapters import answering
from diffuselm.model.encoding import EncodedPrompt
from diffuselm.progress import progress
from diffuselm.tree.layouts import Layout, choose_layout
from diffuselm.tree.objective import distribution_matching_loss
from diffuselm.tree.prefix_tree import PrefixTree, optimal_loss, pruned, subtree
from diffuselm.tree.token_budget import TokenBudget, tokens_that_fit
from diffuselm.tuning.adapter import adapter_on
from diffuselm.tuning.checkpoint import Checkpoint


@dataclass(frozen=True)
class Step:
    """One optimiser step: losses in nats, `optimal` the target set's entropy."""

    step: int
    prompt: str
    loss: float
    optimal: float
    learning_rate: float
    seconds: float


@dataclass
class Progress:
    """How far a training is: with the tensors, all that a checkpoint holds."""

    token_budget: int  # tokens of one pass: as set or found, halved where memory ran out
    tokens: int = 0  # that forward passes read, summed over the steps
    remaining: list[int] = field(default_factory=list)  # prompts still to come in this pass
    pass_loss: float = 0.0
    history: list[Step] = field(default_factory=list)

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> Self:
        """As `asdict` had it, whole or its beginning."""
        history = [Step(**step) for step in saved.get("history", [])]
        return cls(**{**saved, "history": history})

    def shuffled(self, prompts: int, order: torch.Generator) -> Iterator[int]:
        """What remains of the pass under way, or else a new pass over the prompts."""
        if not self.remaining:
            self.remaining = torch.randperm(prompts, generator=order).tolist()
            self.pass_loss = 0.0
        while self.remaining:
            yield self.remaining[0]
            del self.remaining[0]

    def note(self, prompt: EncodedPrompt, loss: float, rate: float, seconds: float) -> None:
        """Add an optimiser step."""
        optimal, number = optimal_loss(prompt.tree), len(self.history)
        self.history.append(Step(number, prompt.id, loss, optimal, rate, seconds))
        self.pass_loss += loss


@dataclass(frozen=True)
class Tuned:
    """An adapter on its base model, and what its training took (see `Progress`)."""

    model: PeftModel
    history: list[Step]
    tokens: int
    token_budget: int


def tune(
    base: PreTrainedModel,
    prompts: Sequence[EncodedPrompt],
    settings: LoraSettings,
    seed: int,
    start: Path | None = None,
    *,
    method: Training = Ours(),
    texts: Sequence[Sequence[int]] = (),
    checkpoint: Path | None = None,
    key: str = "",
    every: float = 60,
) -> Tuned:
    """Train one adapter on the prompts' target sets: a new one, or further the one in `start`.

    A `method` has its own adapter or loss; `texts` are the token ids of what it reads beside.

    Where the file `checkpoint` is of this training, that is of its `key`, training goes on from
    there, on a CPU to the same bits. The file is replaced before a step if `every` seconds have
    passed since the last time, and left to the caller to delete.
    """
    layout = choose_layout(base, [(prompt.tokens, prompt.tree) for prompt in prompts])
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    model = adapter_on(base, settings, start, method).train()
    reader = answering(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=settings.learning_rate, eps=settings.eps, foreach=True
    )
    kept = Checkpoint(checkpoint, key, every, model, optimizer, order)
    fits = settings.token_budget or tokens_that_fit(base, training=True)
    at = Progress.of(kept.load() or {"token_budget": fits})
    budget = TokenBudget(at.token_budget)
    trees = cache(lambda index, tokens: split(prompts[index], tokens, layout))
    rows = [rows_of(prompt, layout) for prompt in prompts]
    optimum = math.fsum(optimal_loss(prompt.tree) for prompt in prompts)

    begun, steps = len(at.history), settings.passes * len(prompts)
    with progress(total=steps, initial=begun, unit="steps") as bar:
        for _ in range(begun // len(prompts), settings.passes):
            for index in at.shuffled(len(prompts), order):
                if at.history:
                    kept.save_if_due(at)
                began, prompt = time.perf_counter(), prompts[index]
                rng = np.random.default_rng(derive(seed, prompt.id, str(len(at.history))))
                weights = method.node_weights(prompt.tree, rng, rows[index])
                loss = budget.attempt(
                    lambda tokens, i=index, w=weights: gradient(
                        reader, prompts[i], weighted(trees(i, tokens), prompts[i].tree, w), layout
                    )
                )
                at.tokens += method.add_gradient(model, texts, rng)
                norm = torch.nn.utils.clip_grad_norm_(trained, settings.max_grad_norm)
                _check_finite(norm.item(), "gradient's norm", prompt)
                optimizer.step()
                at.note(prompt, loss, settings.learning_rate, time.perf_counter() - began)
                at.token_budget = budget.tokens
                asked, read = len(prompt.tokens) + method.embedded, trees(index, budget.tokens)
                packed = sum(layout.tokens_read(asked, tree) for tree in read)
                at.tokens += method.tokens_read(packed, asked, prompt.tree, weights, rows[index])
                bar.update()
            bar.set_postfix_str(f"loss {at.pass_loss:.2f}, optimum {optimum:.2f}", refresh=False)
            if settings.stop_ratio is not None and at.pass_loss <= settings.stop_ratio * optimum:
                break
    optimizer.zero_grad()
    return Tuned(model.eval(), at.history, at.tokens, at.token_budget)


def gradient(
    model: PreTrainedModel, prompt: EncodedPrompt, trees: Sequence[PrefixTree], layout: Layout
) -> float:
    """Leave the gradient of Eq. 5 in the model, summed over the trees that make up the prompt's.

    Returns the loss in nats; raises NonFiniteLossError rather than step on it.
    """
    model.zero_grad()
    total = 0.0
    for tree in trees:
        loss = distribution_matching_loss(layout.log_probs(model, prompt.tokens, tree), tree)
        loss.backward()
        total += loss.item()
    _check_finite(total, "loss", prompt)
    return total


def weighted(
    parts: Sequence[PrefixTree], whole: PrefixTree, weights: np.ndarray
) -> Sequence[PrefixTree]:
    """The trees that a tree was split into, with other weights (n,) of its nodes in Eq. 5.

    Eq. 5 is linear in them: each part takes of a node's weight its share of the node's mass. What
    leads to no weight is left out.
    """
    if weights is whole.mass:
        return parts
    pairs = zip(whole.parent.tolist(), whole.token.tolist(), strict=True)
    child = {pair: node for node, pair in enumerate(pairs)}
    taken = []
    for part in parts:
        nodes = np.full(len(part) + 1, -1)  # those of the whole; the last is the root, parent -1
        for node, (parent, token) in enumerate(zip(part.parent, part.token, strict=True)):
            nodes[node] = child[nodes[parent], token]
        mass = part.mass * (weights / whole.mass)[nodes[:-1]]
        if mass.any():
            kept = np.flatnonzero(part.ancestors[mass > 0].any(axis=0))
            taken.append(pruned(replace(part, mass=mass), kept))
    return taken


def rows_of(prompt: EncodedPrompt, layout: Layout) -> int:
    """How many answers, each read as a row with its prompt, cost as many tokens as the tree."""
    tree = prompt.tree
    row = len(prompt.tokens) + np.average(tree.depth[tree.leaf], weights=tree.mass[tree.leaf])
    return max(1, round(layout.tokens_read(len(prompt.tokens), tree) / row))


def split(prompt: EncodedPrompt, token_budget: int, layout: Layout) -> list[PrefixTree]:
    """The prompt's tree, or the trees of its parts that one pass of so many tokens can read."""
    groups = layout.split(len(prompt.tokens), prompt.tree, token_budget)
    return [subtree(prompt.tree, targets) for targets in groups]


def _check_finite(value: float, what: str, prompt: EncodedPrompt) -> None:
    if not math.isfinite(value):
        raise NonFiniteLossError(
            f"{prompt.id}: the {what} is {value}; expected a finite number: lower the learning rate"
        )
