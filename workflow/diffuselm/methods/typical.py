"""Locally typical sampling (Meister et al. 2023, arXiv 2202.00666)."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from diffuselm.methods.method import Decoding

if TYPE_CHECKING:
    from torch import Tensor


class Typical(Decoding):
    """The tokens whose surprise is nearest to the entropy, up to a mass of `p` or more."""

    p: Annotated[float, Field(gt=0, lt=1)]

    def warp(self, logits: "Tensor") -> "Tensor":
        log_shares = logits.float().log_softmax(dim=-1)
        shares = log_shares.exp()
        entropy = -(shares * log_shares).nansum(dim=-1, keepdim=True)
        tokens = (-log_shares - entropy).abs().argsort(dim=-1)
        ordered = shares.gather(-1, tokens)
        barred = ordered.cumsum(dim=-1) - ordered >= self.p
        return logits.masked_fill(barred.scatter(-1, tokens, barred), float("-inf"))
