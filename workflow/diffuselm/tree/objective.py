"""Equations 1 and 5 over a prefix tree: sums over its nodes, whatever pass gave their numbers."""

import numpy as np
import torch
from torch import Tensor

from diffuselm.tree.prefix_tree import PrefixTree


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
