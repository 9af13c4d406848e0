"""Stage `models`, for the stand-ins: build one from its seed."""

from collections.abc import Sequence
from pathlib import Path

from diffuselm.stand_in.build import build_stand_in


def run(
    *,
    family: str,
    tasks: Sequence[Path],
    words: Path,
    seed: int,
    broad_steps: int,
    collapse_steps: int,
    biography_steps: Sequence[int],
    out: Path,
) -> None:
    """Write the model folder of a stand-in."""
    build_stand_in(
        family,
        out,
        tasks=tasks,
        words=words,
        seed=seed,
        broad_steps=broad_steps,
        collapse_steps=collapse_steps,
        biography_steps=biography_steps,
    )
