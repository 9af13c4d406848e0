"""How the stand-in models are rebuilt."""

from typing import Literal

from diffuselm.config.base import Count, Seed, Settings


class StandInSettings(Settings):
    """How the stand-in models are rebuilt, into results/stand-ins."""

    seed: Seed = 1
    """Seed of questions, weights and favourites."""
    broad_steps: Count = 2000
    """Optimiser steps of the first phase, on wide distributions."""
    collapse_steps: dict[Literal["gemma", "llama", "mistral"], Count] = {"mistral": 400}
    """Optimiser steps of the second phase, on a few favourites per prompt, where not 250."""
    biography_steps: tuple[Count, Count] = (700, 200)
    """Steps of both phases once more, mostly on biographies."""
