"""Eq. 5 over a prefix tree: one packed forward pass gives every target's log-probability."""

import logging
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from diffuselm.tree.form import Form
from diffuselm.tree.prefix_tree import PrefixTree, runs, subtree
from diffuselm.tree.token_budget import is_out_of_memory

log = logging.getLogger(__name__)


class NodeLogProbs(Protocol):
    """(model, prompt ids, tree of n nodes) -> (n,) float32 log p(node's token | prompt and path).

    With a `form`, each node's distribution is that over the tokens that may follow in it.
    """

    def __call__(
        self,
        model: PreTrainedModel,
        prompt: Sequence[int],
        tree: PrefixTree,
        form: Form | None = None,
    ) -> Tensor:
        """Compute them."""


def packed_node_log_probs(
    model: PreTrainedModel, prompt: Sequence[int], tree: PrefixTree, form: Form | None = None
) -> Tensor:
    """Log-probability of every node, in nats, from one pass over prompt and tree: (n,) float32.

    The prompt stands once, then each inner node once (a leaf predicts nothing). A node sees the
    prompt and its ancestors, and its position is its depth, so its logits are those that the
    plain sequence would give.
    """
    inner = tree.inner
    mask = packed_mask(len(prompt), tree.ancestors[np.ix_(inner, inner)])
    lowest = torch.finfo(model.dtype).min
    additive = torch.zeros(mask.shape, dtype=model.dtype).masked_fill(~mask, lowest)
    positions = np.concatenate([np.arange(len(prompt)), len(prompt) + tree.depth[inner]])
    ids = np.concatenate([np.asarray(prompt, dtype=np.int64), tree.token[inner]])
    logits = model(
        input_ids=torch.as_tensor(ids, device=model.device)[None],
        attention_mask=additive.to(model.device)[None, None],
        position_ids=torch.as_tensor(positions, device=model.device)[None],
        use_cache=False,
        logits_to_keep=len(ids) - len(prompt) + 1,
    ).logits[0]
    # Row 0 of the logits stands for the root, row 1 + k for the k-th inner node.
    row = np.where(tree.parent < 0, 0, 1 + np.searchsorted(inner, tree.parent))
    if form is not None:
        logits = form.hold(logits, form.of_nodes(tree)[np.concatenate([[0], inner + 1])])
    return _picked(logits, row, tree.token)


def padded_node_log_probs(
    model: PreTrainedModel, prompt: Sequence[int], tree: PrefixTree, form: Form | None = None
) -> Tensor:
    """The same (n,) log-probabilities the usual way: one row per target, the prompt in each.

    For models that cannot take a tree mask, and the reference that the packed pass is checked
    against. Rows are padded on the right, where causal models never look.
    """
    paths = [tree.path(leaf) for leaf in tree.leaf]
    longest = max(map(len, paths))
    ids = np.zeros((len(paths), len(prompt) + longest - 1), dtype=np.int64)
    ids[:, : len(prompt)] = prompt
    where = np.zeros((len(tree), 2), dtype=np.int64)  # a (row, step) that predicts each node
    for index, path in enumerate(paths):
        ids[index, len(prompt) : len(prompt) + len(path) - 1] = tree.token[path[:-1]]
        where[path] = np.stack([np.full(len(path), index), np.arange(len(path))], axis=1)
    attended = np.arange(ids.shape[1]) < (len(prompt) + np.array([*map(len, paths)]) - 1)[:, None]
    logits = model(
        input_ids=torch.as_tensor(ids, device=model.device),
        attention_mask=torch.as_tensor(attended, dtype=torch.long, device=model.device),
        use_cache=False,
        logits_to_keep=ids.shape[1] - len(prompt) + 1,
    ).logits.flatten(0, 1)
    row = where[:, 0] * longest + where[:, 1]
    if form is not None:
        states = np.full(len(logits), form.start)
        states[row] = form.of_nodes(tree)[tree.parent + 1]
        logits = form.hold(logits, states)
    return _picked(logits, row, tree.token)


def packed_mask(prompt: int, ancestors: np.ndarray) -> Tensor:
    """(prompt + n, prompt + n) bool: what each position of the packed sequence may see."""
    total = prompt + len(ancestors)
    mask = torch.zeros((total, total), dtype=torch.bool)
    mask[:prompt, :prompt] = torch.ones((prompt, prompt), dtype=torch.bool).tril()
    mask[prompt:, :prompt] = True
    mask[prompt:, prompt:] = torch.from_numpy(ancestors)
    return mask


def _picked(logits: Tensor, row: np.ndarray, token: np.ndarray) -> Tensor:
    """log softmax(logits)[row, token] in float32, without a second (rows, vocabulary) array."""
    logits = logits.float()
    rows = torch.as_tensor(row, device=logits.device)
    tokens = torch.as_tensor(token, device=logits.device)
    return logits[rows, tokens] - logits.logsumexp(dim=-1)[rows]


def distribution_matching_loss(node_log_probs: Tensor, tree: PrefixTree) -> Tensor:
    """Eq. 5 in nats: -sum over targets of p*(y) log p(y), as a sum over the tree's nodes."""
    mass = torch.as_tensor(tree.mass, dtype=node_log_probs.dtype, device=node_log_probs.device)
    return -(mass * node_log_probs).sum()


def target_log_probs(node_log_probs: Tensor, tree: PrefixTree) -> np.ndarray:
    """Eq. 1: (targets,) float64 log p(y | x), each the sum over the target's path."""
    total = node_log_probs.detach().double().cpu().numpy()
    for node, parent in enumerate(tree.parent):
        if parent >= 0:
            total[node] += total[parent]
    return total[tree.leaf]


def parts(
    tree: PrefixTree, prompt: int, token_budget: int, node_log_probs: NodeLogProbs
) -> list[list[int]]:
    """Partition the targets into runs of which one pass reads at most `token_budget` tokens.

    `prompt` is the number of its tokens. Eq. 5 is linear in the weights: the losses and gradients
    of the runs' subtrees sum to the whole's. A target too long for the budget stands alone.
    """
    if node_log_probs is packed_node_log_probs:
        return runs(tree, token_budget - prompt)
    rows = max(1, token_budget // (prompt + int(tree.depth.max()) + 1))
    targets = list(range(len(tree.leaf)))
    return [targets[start : start + rows] for start in range(0, len(targets), rows)]


def score(
    model: PreTrainedModel,
    prompt: Sequence[int],
    tree: PrefixTree,
    node_log_probs: NodeLogProbs,
    token_budget: int,
    form: Form | None = None,
) -> np.ndarray:
    """Exact (targets,) log-probabilities of a target set, at most `token_budget` tokens a pass.

    With a `form`, those of an answer that is held to it.
    """
    scores = np.empty(len(tree.leaf))
    with torch.inference_mode():
        for targets in parts(tree, len(prompt), token_budget, node_log_probs):
            part = subtree(tree, targets)
            scores[targets] = target_log_probs(node_log_probs(model, prompt, part, form), part)
    return scores


def choose_node_log_probs(
    model: PreTrainedModel, prompt: Sequence[int], tree: PrefixTree, targets: int = 4
) -> NodeLogProbs:
    """Take the packed pass if this model computes it right, else the padded loop, with a warning.

    Compares both on a few targets, the longest among them, where a sliding window cuts the most;
    the tolerance is what the model's own precision allows.
    """
    longest = int(tree.depth[tree.leaf].argmax())
    probe = subtree(tree, sorted({*range(min(targets, len(tree.leaf))), longest}))
    tolerance = (2e-4 if model.dtype == torch.float32 else 0.1) * (int(probe.depth.max()) + 1)
    with torch.inference_mode():
        plain = target_log_probs(padded_node_log_probs(model, prompt, probe), probe)
        try:
            packed = target_log_probs(packed_node_log_probs(model, prompt, probe), probe)
            worst = float(np.abs(packed - plain).max())
            reason = f"log-likelihoods differ by {worst:.2g} nats"
        except (TypeError, ValueError, RuntimeError, IndexError) as error:
            if is_out_of_memory(error):
                raise
            worst, reason = np.inf, str(error).splitlines()[0]
    if worst <= tolerance:
        return packed_node_log_probs
    log.warning(
        "%s cannot take a tree mask (%s): using the padded loop, one row per target",
        type(model).__name__,
        reason,
    )
    return padded_node_log_probs
