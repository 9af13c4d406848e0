"""Distribution matching by LoRA (section 3): one optimiser step per prompt, shuffled each pass."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel

from diffuselm.errors import InputError, NonFiniteLossError
from diffuselm.model.encoding import EncodedPrompt
from diffuselm.model.opening import open_adapter
from diffuselm.progress import progress
from diffuselm.tree.objective import (
    NodeLogProbs,
    choose_node_log_probs,
    distribution_matching_loss,
    packed_node_log_probs,
    parts,
)
from diffuselm.tree.prefix_tree import PrefixTree, optimal_loss, subtree
from diffuselm.tree.token_budget import TokenBudget, tokens_that_fit
from diffuselm.tuning import checkpoint as checkpoints


@dataclass(frozen=True)
class Hyperparameters:
    """How an adapter is trained; the paper's values are the defaults of the config."""

    rank: int
    alpha: int
    dropout: float
    target_modules: tuple[str, ...]
    learning_rate: float
    eps: float
    max_grad_norm: float
    passes: int
    stop_ratio: float | None  # stop once a pass's loss is at most this x the targets' entropy
    token_budget: int | None  # tokens of one pass, larger trees are split; None: what memory holds


@dataclass(frozen=True)
class Step:
    """One optimiser step: losses in nats, `optimal` the target set's entropy."""

    step: int
    prompt: str
    loss: float
    optimal: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class Tuned:
    """An adapter on its base model, and what its training took."""

    model: PeftModel
    history: list[Step]
    tokens: int  # that forward passes read, summed over the steps
    token_budget: int  # tokens of one pass at the end: as set or found, halved where memory ran out


def tune(
    base: PreTrainedModel,
    prompts: Sequence[EncodedPrompt],
    settings: Hyperparameters,
    seed: int,
    start: Path | None = None,
    *,
    checkpoint: Path | None = None,
    key: str = "",
    every: float = 60,
) -> Tuned:
    """Train one adapter on the prompts' target sets: a new one, or further the one in `start`.

    Where the file `checkpoint` is one of this training, whose settings, data, code and base model
    `key` stands for, training goes on from there, on a CPU to the same bits. The file is replaced
    after the first step that ends `every` seconds or more after it was written, unless it is the
    last one, and left to the caller to delete.
    """
    training = _begin(base, prompts, settings, seed, start)
    key = f"{key} {checkpoints.layout(training.model)}"
    if checkpoint and (saved := checkpoints.load(checkpoint, key)):
        training.restore(*saved)
    total, taken = settings.passes * len(prompts), len(training.history)
    saved = time.monotonic()
    with progress(total=total, initial=taken, unit="steps") as bar:
        while not training.done:
            training.step()
            bar.update()
            if not training.remaining:
                text = f"loss {training.pass_loss:.2f}, optimum {training.optimum:.2f}"
                bar.set_postfix_str(text, refresh=False)
            if checkpoint and not training.done and time.monotonic() - saved >= every:
                checkpoints.save(checkpoint, key, *training.state())
                saved = time.monotonic()
    training.optimizer.zero_grad()
    return Tuned(training.model.eval(), training.history, training.tokens, training.budget.tokens)


class Training:
    """A training under way: the adapter, its optimiser, and where it is in which pass."""

    def __init__(
        self,
        model: PeftModel,
        prompts: Sequence[EncodedPrompt],
        settings: Hyperparameters,
        seed: int,
        node_log_probs: NodeLogProbs,
        budget: TokenBudget,
    ) -> None:
        self.model, self.prompts, self.settings = model, prompts, settings
        self.node_log_probs, self.budget = node_log_probs, budget
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.trained, lr=settings.learning_rate, eps=settings.eps
        )
        self.optimum = math.fsum(optimal_loss(prompt.tree) for prompt in prompts)
        self.order = torch.Generator().manual_seed(seed)
        self.remaining: list[int] = []  # prompts that the pass under way has still to come to
        self.pass_loss = 0.0
        self.tokens = 0
        self.history: list[Step] = []
        self._trees: dict[tuple[int, int], list[PrefixTree]] = {}

    @property
    def done(self) -> bool:
        """Whether the last pass is over, or a pass came near enough to the optimum."""
        if len(self.history) >= self.settings.passes * len(self.prompts):
            return True
        if self.remaining or not self.history or self.settings.stop_ratio is None:
            return False
        return self.pass_loss <= self.settings.stop_ratio * self.optimum

    def step(self) -> None:
        """One optimiser step, on the next prompt of the pass or the first of a new one."""
        if not self.remaining:
            self.remaining = torch.randperm(len(self.prompts), generator=self.order).tolist()
            self.pass_loss = 0.0
        index = self.remaining.pop(0)
        prompt, began = self.prompts[index], time.perf_counter()
        loss = self._gradient(index)
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.settings.max_grad_norm)
        _check_finite(norm.item(), "gradient's norm", prompt)
        self.optimizer.step()
        self.pass_loss += loss
        self.history.append(
            Step(
                step=len(self.history),
                prompt=prompt.id,
                loss=loss,
                optimal=optimal_loss(prompt.tree),
                learning_rate=self.settings.learning_rate,
                seconds=time.perf_counter() - began,
            )
        )

    def _gradient(self, index: int) -> float:
        """Leave the gradient of one prompt's loss in the parameters, and return the loss."""

        def attempt(tokens: int) -> float:
            self.optimizer.zero_grad()  # an attempt that ran out of memory left a part
            trees = self._passes(index, tokens)
            return accumulate_gradient(self.model, prompt, trees, self.node_log_probs)

        prompt = self.prompts[index]
        loss = self.budget.run(attempt)
        for tree in self._passes(index, self.budget.tokens):
            self.tokens += tokens_read(prompt, tree, self.node_log_probs)
        return loss

    def _passes(self, index: int, tokens: int) -> list[PrefixTree]:
        if (index, tokens) not in self._trees:
            trees = passes_of(self.prompts[index], tokens, self.node_log_probs)
            self._trees[index, tokens] = trees
        return self._trees[index, tokens]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The tensors and the progress from which `restore` goes on."""
        progress = {
            "steps": len(self.history),
            "remaining": self.remaining,
            "pass_loss": self.pass_loss,
            "tokens": self.tokens,
            "token_budget": self.budget.tokens,
            "history": [asdict(step) for step in self.history],
        }
        return checkpoints.tensors_of(self.model, self.optimizer, self.order), progress

    def restore(self, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
        """Go back to where `state` was taken."""
        checkpoints.put_back(tensors, self.model, self.optimizer, self.order)
        self.remaining = list(progress["remaining"])
        self.pass_loss = progress["pass_loss"]
        self.tokens = progress["tokens"]
        self.budget.tokens = progress["token_budget"]
        self.history = [Step(**row) for row in progress["history"]]


def accumulate_gradient(
    model: PreTrainedModel,
    prompt: EncodedPrompt,
    trees: Sequence[PrefixTree],
    node_log_probs: NodeLogProbs,
) -> float:
    """Add the gradient of Eq. 5 for one prompt, a pass for each of the trees that make up its own.

    Returns the loss in nats; raises NonFiniteLossError rather than step on it.
    """
    total = 0.0
    for tree in trees:
        loss = distribution_matching_loss(node_log_probs(model, prompt.tokens, tree), tree)
        loss.backward()
        total += loss.item()
    _check_finite(total, "loss", prompt)
    return total


def passes_of(
    prompt: EncodedPrompt, token_budget: int, node_log_probs: NodeLogProbs
) -> list[PrefixTree]:
    """The prompt's tree, split so that one pass reads at most `token_budget` tokens."""
    targets = parts(prompt.tree, len(prompt.tokens), token_budget, node_log_probs)
    return [prompt.tree] if len(targets) == 1 else [subtree(prompt.tree, t) for t in targets]


def tokens_read(prompt: EncodedPrompt, tree: PrefixTree, node_log_probs: NodeLogProbs) -> int:
    """Tokens that one forward pass reads: of the packed sequence, or of all padded rows."""
    if node_log_probs is packed_node_log_probs:
        return len(prompt.tokens) + len(tree.inner)
    return len(tree.leaf) * (len(prompt.tokens) + int(tree.depth.max()))


def _begin(
    base: PreTrainedModel,
    prompts: Sequence[EncodedPrompt],
    settings: Hyperparameters,
    seed: int,
    start: Path | None,
) -> Training:
    """The training before its first step."""
    _check_modules(base, settings.target_modules)
    torch.manual_seed(seed)
    longest = max(prompts, key=lambda prompt: len(prompt.tokens) + prompt.tree.depth.max())
    node_log_probs = choose_node_log_probs(base, longest.tokens, longest.tree)
    if start is None:
        model = get_peft_model(base, _lora(settings)).train()
    else:
        model = open_adapter(base, start, trainable=True).train()
    tokens = settings.token_budget or tokens_that_fit(base, training=True)
    return Training(model, prompts, settings, seed, node_log_probs, TokenBudget(tokens))


def _check_finite(value: float, what: str, prompt: EncodedPrompt) -> None:
    if not math.isfinite(value):
        raise NonFiniteLossError(
            f"{prompt.id}: the {what} is {value}; expected a finite number: lower the learning rate"
        )


def _check_modules(model: PreTrainedModel, wanted: Sequence[str]) -> None:
    """Raise InputError for a module that the model lacks: PEFT would skip it silently."""
    present = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    if absent := [module for module in wanted if module not in present]:
        raise InputError(
            f"tune.target_modules: {type(model).__name__} has no {', '.join(absent)}; expected "
            f"modules among {', '.join(sorted(name for name in present if 'proj' in name))}"
        )


def _lora(settings: Hyperparameters) -> LoraConfig:
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.target_modules),
        task_type="CAUSAL_LM",
    )
