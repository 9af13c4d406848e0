"""Top-k sampling (Fan et al. 2018, arXiv 1805.04833): the k likeliest tokens."""

from typing import TYPE_CHECKING

from diffuselm.config.base import Count
from diffuselm.methods.method import Decoding

if TYPE_CHECKING:
    from torch import Tensor


class TopK(Decoding):
    """Tokens as likely as the k-th are kept with it."""

    k: Count

    def warp(self, logits: "Tensor") -> "Tensor":
        least = logits.topk(min(self.k, logits.shape[-1])).values[:, -1:]
        return logits.masked_fill(logits < least, float("-inf"))
