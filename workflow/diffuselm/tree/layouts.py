"""How a target set is laid out in a forward pass: packed as a tree, or padded, one row a target."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from diffuselm.errors import first_line
from diffuselm.tree.attention import by_blocks
from diffuselm.tree.form import Form
from diffuselm.tree.objective import NodeLogProbs, target_log_probs
from diffuselm.tree.prefix_tree import PrefixTree, partition, subtree
from diffuselm.tree.token_budget import is_out_of_memory

log = logging.getLogger(__name__)

Warp = Callable[[Tensor], Tensor]  # of (rows, vocabulary) logits, into those to draw from


class Layout(ABC):
    """How the prompt and a target set's tree are put into one forward pass."""

    def log_probs(
        self,
        model: PreTrainedModel,
        prompt: Sequence[int],
        tree: PrefixTree,
        form: Form | None = None,
        warp: Warp | None = None,
    ) -> Tensor:
        """(n,) float32 log p(node's token | prompt and path) in nats, of a tree of n nodes.

        With a `form`, each node's distribution is that over the tokens that may follow in it;
        with a `warp`, that of the logits which it makes of the model's.
        """
        ids, row, mask = self._laid_out(model, prompt, tree)
        with self._attention(model, ids.shape[1]):
            logits = model(
                input_ids=torch.as_tensor(ids, device=model.device),
                use_cache=False,
                logits_to_keep=ids.shape[1] - len(prompt) + 1,
                **{name: each.to(model.device) for name, each in mask.items()},
            ).logits.flatten(0, 1)
        if form is not None:
            states = np.full(len(logits), form.start)
            states[row] = form.of_nodes(tree)[tree.parent + 1]
            logits = form.hold(logits, states)
        if warp is not None:
            logits = warp(logits)
        rows = torch.as_tensor(row, device=logits.device)
        tokens = torch.as_tensor(tree.token, device=logits.device)
        return NodeLogProbs.apply(logits.float(), rows, tokens)

    def _attention(self, model: PreTrainedModel, length: int) -> AbstractContextManager[None]:
        """The attention of a pass over so many tokens: the model's own."""
        return nullcontext()

    @abstractmethod
    def _laid_out(
        self, model: PreTrainedModel, prompt: Sequence[int], tree: PrefixTree
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Tensor]]:
        """Token ids (rows, length), which row of all logits predicts each node, and the mask.

        Logits are those after the prompt's last token and after each token that follows.
        """

    @abstractmethod
    def tokens_read(self, prompt: int, tree: PrefixTree) -> int:
        """Tokens of one pass, padding included; `prompt` is the number of the prompt's."""

    @abstractmethod
    def split(self, prompt: int, tree: PrefixTree, token_budget: int) -> list[list[int]]:
        """Partition the targets so that one pass reads at most `token_budget` tokens.

        Eq. 5 is linear in the weights: the losses and gradients of the groups' subtrees sum to
        the whole's. A target too long for the budget stands alone.
        """


@dataclass(frozen=True)
class Packed(Layout):
    """The prompt once, then each inner node of the tree once (a leaf predicts nothing).

    A node sees the prompt and its ancestors, and its position is its depth, so its logits are
    those that the plain sequence would give.
    """

    def _laid_out(
        self, model: PreTrainedModel, prompt: Sequence[int], tree: PrefixTree
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Tensor]]:
        inner = tree.inner
        mask = packed_mask(len(prompt), tree.ancestors[np.ix_(inner, inner)])
        lowest = torch.finfo(model.dtype).min
        additive = torch.zeros(mask.shape, dtype=model.dtype).masked_fill(~mask, lowest)
        positions = np.concatenate([np.arange(len(prompt)), len(prompt) + tree.depth[inner]])
        ids = np.concatenate([np.asarray(prompt, dtype=np.int64), tree.token[inner]])
        # Row 0 of the logits is the root's, row 1 + k that of the k-th inner node.
        row = np.where(tree.parent < 0, 0, 1 + np.searchsorted(inner, tree.parent))
        seen = {
            "attention_mask": additive[None, None],
            "position_ids": torch.as_tensor(positions)[None],
        }
        return ids[None], row, seen

    def _attention(self, model: PreTrainedModel, length: int) -> AbstractContextManager[None]:
        return by_blocks(model, length)

    def tokens_read(self, prompt: int, tree: PrefixTree) -> int:
        return prompt + len(tree.inner)

    def split(self, prompt: int, tree: PrefixTree, token_budget: int) -> list[list[int]]:
        return partition(tree, token_budget - prompt)


@dataclass(frozen=True)
class Padded(Layout):
    """The usual way: one row per target, the prompt in each, padded on the right.

    For models that cannot take a tree mask, and the reference for the packed pass. Causal models
    never look to the right.
    """

    def _laid_out(
        self, model: PreTrainedModel, prompt: Sequence[int], tree: PrefixTree
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Tensor]]:
        paths = [tree.path(leaf) for leaf in tree.leaf]
        longest = max(map(len, paths))
        ids = np.zeros((len(paths), len(prompt) + longest - 1), dtype=np.int64)
        ids[:, : len(prompt)] = prompt
        attended = torch.zeros(ids.shape, dtype=torch.long)
        row = np.zeros(len(tree), dtype=np.int64)
        for index, path in enumerate(paths):
            end = len(prompt) + len(path) - 1
            ids[index, len(prompt) : end] = tree.token[path[:-1]]
            attended[index, :end] = 1
            row[path] = index * longest + np.arange(len(path))
        return ids, row, {"attention_mask": attended}

    def tokens_read(self, prompt: int, tree: PrefixTree) -> int:
        return len(tree.leaf) * (prompt + int(tree.depth.max()))

    def split(self, prompt: int, tree: PrefixTree, token_budget: int) -> list[list[int]]:
        rows = max(1, token_budget // (prompt + int(tree.depth.max()) + 1))
        targets = list(range(len(tree.leaf)))
        return [targets[start : start + rows] for start in range(0, len(targets), rows)]


def packed_mask(prompt: int, ancestors: np.ndarray) -> Tensor:
    """(prompt + n, prompt + n) bool: what each position of the packed sequence may see."""
    total = prompt + len(ancestors)
    mask = torch.ones((total, total), dtype=torch.bool).tril()
    mask[prompt:, prompt:] = torch.from_numpy(ancestors)
    return mask


@torch.inference_mode()
def score(
    model: PreTrainedModel,
    prompt: Sequence[int],
    tree: PrefixTree,
    layout: Layout,
    token_budget: int,
    form: Form | None = None,
    warp: Warp | None = None,
) -> np.ndarray:
    """Eq. 1 for a target set: exact (targets,) float64 log p(y | x), in nats.

    With a `form` or a `warp`, those of an answer that is drawn so (see `Layout.log_probs`). A pass
    reads `token_budget` tokens at most.
    """
    scores = np.empty(len(tree.leaf))
    for targets in layout.split(len(prompt), tree, token_budget):
        part = subtree(tree, targets)
        scores[targets] = target_log_probs(layout.log_probs(model, prompt, part, form, warp), part)
    return scores


@torch.inference_mode()
def choose_layout(
    model: PreTrainedModel, target_sets: Sequence[tuple[Sequence[int], PrefixTree]]
) -> Layout:
    """Packed if the model computes it right, else padded, with a warning.

    Of the (prompt, tree) pairs, compares both on the one that reaches farthest, and of its targets
    on a few, the longest among them: a sliding window cuts it the most. The tolerance is what the
    model's own precision allows.
    """
    prompt, tree = max(target_sets, key=lambda each: len(each[0]) + each[1].depth.max())
    longest = int(tree.depth[tree.leaf].argmax())
    probe = subtree(tree, sorted({*range(min(2, len(tree.leaf))), longest}))
    tolerance = (2e-4 if model.dtype == torch.float32 else 0.1) * (int(probe.depth.max()) + 1)
    padded = target_log_probs(Padded().log_probs(model, prompt, probe), probe)
    try:
        packed = target_log_probs(Packed().log_probs(model, prompt, probe), probe)
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        reason = first_line(error)
    else:
        worst = float(np.abs(packed - padded).max())
        if worst <= tolerance:
            return Packed()
        reason = f"log-likelihoods differ by {worst:.2g} nats"
    log.warning(
        "%s cannot take a tree mask (%s): using the padded loop, one row per target",
        type(model).__name__,
        reason,
    )
    return Padded()
