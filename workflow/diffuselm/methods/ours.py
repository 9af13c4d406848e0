"""Ours: the loss of the paper (Eq. 5) over the whole tree, exact, with settings that may differ."""

from diffuselm.methods.training import Training


class Ours(Training):
    """What every tuning that is no method is trained with."""
