"""Stage `targets`: the target sets of one task."""

from pathlib import Path

from diffuselm.tasks.tasks import write_targets


def run(*, task: Path, natural: Path | None, seed: int, out: Path) -> None:
    """Write the target sets of all prompts of a task."""
    write_targets(task, natural, seed, out)
