"""Figure 2's prompts: random numbers in the five formats of appendix A.1 and over random ranges."""

from pathlib import Path

import numpy as np
import yaml

from diffuselm.config.ranges import RangesSettings
from diffuselm.files.seeds import derive
from diffuselm.files.whole import written_whole

# Appendix A.1, to the letter ("bweet" is the paper's).
FORMATS = (
    "Randomly pick an integer between {low} and {high}. Do not provide any code. Output only the "
    "number between two curly braces, like this: {{number}}. Don’t output code.",
    "Output a number uniform randomly from the range {low} to {high}, inclusive. Output the number "
    "between two curly braces, like this: {{number}}. Don’t output code.",
    "Choose a number at random between {low} and {high}. Output your chosen number bweet two curly "
    "braces, like this {{number}}.",
    "Select an integer completely at random from the interval [{low}, {high}]. Output the selected "
    "integer between two curly braces, like this {{n}}.",
    "I need you to pick a number completely at random. The number should be between {low} and "
    "{high}. Print the number between two curly braces, like this: {{n}}.",
)
LOWEST = (1, 900)  # of random ranges, both included


def range_prompts(ranges: RangesSettings, seed: int) -> dict[str, dict]:
    """Prompts as in a task file: `format-F-to-H` from 1 to H, and `size-S-version-V`.

    The latter ask, in the first format, for one of S numbers from a lowest drawn from `LOWEST`.
    """
    prompts = {
        f"format-{number}-to-{high}": _prompt(text, 1, high)
        for high in ranges.highs
        for number, text in enumerate(FORMATS, start=1)
    }
    for size in ranges.sizes:
        for version in range(1, ranges.versions + 1):
            rng = np.random.default_rng(derive(seed, "ranges", str(size), str(version)))
            low = int(rng.integers(*LOWEST, endpoint=True))
            slug = f"size-{size}-version-{version}"
            prompts[slug] = _prompt(FORMATS[0], low, low + size - 1)
    return prompts


def write_ranges(*, ranges: RangesSettings = RangesSettings(), seed: int, out: Path) -> None:
    """Stage `ranges`: write the prompts as a task file."""
    task = {"prompts": range_prompts(ranges, seed)}
    with written_whole(out) as part:
        part.write_text(yaml.safe_dump(task, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _prompt(text: str, low: int, high: int) -> dict:
    return {"text": text.format(low=low, high=high), "targets": list(range(low, high + 1))}
