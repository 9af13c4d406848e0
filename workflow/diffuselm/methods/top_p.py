"""Nucleus sampling (Holtzman et al. 2020, arXiv 1904.09751): the likeliest tokens up to mass p."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from diffuselm.methods.method import Decoding

if TYPE_CHECKING:
    from torch import Tensor


class TopP(Decoding):
    """The smallest set of the likeliest tokens whose mass is p or more."""

    p: Annotated[float, Field(gt=0, lt=1)]

    def warp(self, logits: "Tensor") -> "Tensor":
        shares, tokens = logits.float().softmax(dim=-1).sort(dim=-1, descending=True)
        # What stands before a token reaches p without it.
        barred = shares.cumsum(dim=-1) - shares >= self.p
        return logits.masked_fill(barred.scatter(-1, tokens, barred), float("-inf"))
