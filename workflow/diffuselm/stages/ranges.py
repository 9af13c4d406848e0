"""Stage `targets`, before it: the task of random ranges that Figure 2 is about."""

from collections.abc import Sequence
from pathlib import Path

from diffuselm.tasks.ranges import write_ranges


def run(*, highs: Sequence[int], sizes: Sequence[int], versions: int, seed: int, out: Path) -> None:
    """Write the task file."""
    write_ranges(out, highs=highs, sizes=sizes, versions=versions, seed=seed)
