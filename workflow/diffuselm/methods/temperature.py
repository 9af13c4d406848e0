"""Temperature (footnote 6): logits divided by a number."""

from typing import TYPE_CHECKING

from diffuselm.config.base import Positive
from diffuselm.methods.method import Decoding

if TYPE_CHECKING:
    from torch import Tensor


class Temperature(Decoding):
    """Above 1 it flattens, below it sharpens."""

    temperature: Positive

    def warp(self, logits: "Tensor") -> "Tensor":
        return logits / self.temperature
