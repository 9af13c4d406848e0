"""Min-p sampling (Nguyen et al. 2024, arXiv 2407.01082): no token far below the likeliest."""

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from diffuselm.methods.method import Decoding

if TYPE_CHECKING:
    from torch import Tensor


class MinP(Decoding):
    """The tokens of at least `p` times the probability of the likeliest one."""

    p: Annotated[float, Field(gt=0, lt=1)]

    def warp(self, logits: "Tensor") -> "Tensor":
        least = logits.amax(dim=-1, keepdim=True) + math.log(self.p)
        return logits.masked_fill(logits < least, float("-inf"))
