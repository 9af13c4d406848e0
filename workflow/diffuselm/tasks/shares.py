"""How a number of records is split by stated shares."""

from collections.abc import Sequence

import numpy as np

from diffuselm.tasks.prompts import Prompt


def apportion(weights: Sequence[float], n: int, offset: float = 0.5) -> np.ndarray:
    """Split n by `weights`: each share is rounded up or down (systematic sampling).

    Over an even `offset` of 0 to 1, the expectation of each is exactly n times its share.
    """
    # Rounded, so that a share that is whole stays so whatever the sum's last bits are.
    ends = np.round(np.cumsum(weights) / np.sum(weights) * n, 9)
    whole = np.floor(ends)
    return np.diff(whole + (ends - whole + offset >= 1), prepend=0).astype(int)


def shares_of(prompts: Sequence[Prompt], records: int) -> dict[str, int]:
    """How many of a task's records each of its prompts has."""
    counts = apportion([prompt.share for prompt in prompts], records)
    return {prompt.id: int(count) for prompt, count in zip(prompts, counts, strict=True)}
