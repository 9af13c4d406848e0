"""Distribution matching by LoRA (section 3): one optimiser step per prompt, shuffled each pass."""

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tqdm import tqdm
from transformers import PreTrainedModel

from diffuselm.encoding import EncodedPrompt
from diffuselm.errors import InputError, NonFiniteLossError
from diffuselm.models import open_adapter
from diffuselm.objective import (
    NodeLogProbs,
    choose_node_log_probs,
    distribution_matching_loss,
    parts,
)
from diffuselm.prefix_tree import PrefixTree, optimal_loss, subtree


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
    token_budget: int  # tokens of one packed pass; larger trees are split


@dataclass(frozen=True)
class Step:
    """One optimiser step: losses in nats, `optimal` the target set's entropy."""

    step: int
    prompt: str
    loss: float
    optimal: float
    learning_rate: float
    seconds: float


def tune(
    base: PreTrainedModel,
    prompts: Sequence[EncodedPrompt],
    settings: Hyperparameters,
    seed: int,
    start: Path | None = None,
) -> tuple[PeftModel, list[Step]]:
    """Train one adapter on the prompts' target sets; returns it and the history of its steps.

    A new adapter, or the one in the folder `start`, trained further.
    """
    _check_modules(base, settings.target_modules)
    torch.manual_seed(seed)
    longest = max(prompts, key=lambda prompt: len(prompt.tokens) + prompt.tree.depth.max())
    node_log_probs = choose_node_log_probs(base, longest.tokens, longest.tree)
    if start is None:
        model = get_peft_model(base, _lora(settings)).train()
    else:
        model = open_adapter(base, start, trainable=True).train()
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=settings.learning_rate, eps=settings.eps)
    order = torch.Generator().manual_seed(seed)
    optimum = math.fsum(optimal_loss(prompt.tree) for prompt in prompts)
    trees = [passes_of(prompt, settings.token_budget, node_log_probs) for prompt in prompts]
    history: list[Step] = []
    interval = 0.1 if sys.stderr.isatty() else 10
    with tqdm(total=settings.passes * len(prompts), unit="step", mininterval=interval) as bar:
        for _ in range(settings.passes):
            pass_loss = 0.0
            for index in torch.randperm(len(prompts), generator=order).tolist():
                prompt, began = prompts[index], time.perf_counter()
                loss = accumulate_gradient(model, prompt, trees[index], node_log_probs)
                norm = torch.nn.utils.clip_grad_norm_(trainable, settings.max_grad_norm)
                _check_finite(norm.item(), "gradient's norm", prompt)
                optimizer.step()
                optimizer.zero_grad()
                pass_loss += loss
                history.append(
                    Step(
                        step=len(history),
                        prompt=prompt.id,
                        loss=loss,
                        optimal=optimal_loss(prompt.tree),
                        learning_rate=settings.learning_rate,
                        seconds=time.perf_counter() - began,
                    )
                )
                bar.update()
            bar.set_postfix_str(f"loss {pass_loss:.2f}, optimum {optimum:.2f}", refresh=False)
            if settings.stop_ratio is not None and pass_loss <= settings.stop_ratio * optimum:
                break
    return model.eval(), history


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


def _check_finite(value: float, what: str, prompt: EncodedPrompt) -> None:
    if not math.isfinite(value):
        raise NonFiniteLossError(
            f"{prompt.id}: the {what} is {value}; expected a finite number: lower the learning rate"
        )


def _check_modules(model: PreTrainedModel, wanted: Sequence[str]) -> None:
    """Raise InputError for a module that the model lacks: PEFT would leave it out unsaid."""
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
