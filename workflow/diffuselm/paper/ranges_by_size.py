"""Entropy over ranges of integers by the number of integers: what Figure 2 plots."""

import math
import re

import pandas as pd

from diffuselm.errors import InputError
from diffuselm.measure.intervals import mean_interval
from diffuselm.paper.comparison import mean_over_seeds

TASK = "ranges"
# What a quantity can be at most: an interval of five prompts knows nothing of such limits.
_MOST = {"entropy": math.inf, "entropy_exact": math.inf, "target_mass": 1.0}
_FORMATS = re.compile(r"ranges/format-[1-9][0-9]*-to-([1-9][0-9]*)")
_SIZES = re.compile(r"ranges/size-([1-9][0-9]*)-version-[1-9][0-9]*")
_FRAME = {
    **dict.fromkeys(("model", "tuning", "panel"), "str"),
    "n": "int64",
    "quantity": "str",
    **dict.fromkeys(("mean", "ci_low", "ci_high"), "float64"),
    "prompts": "int64",
}


def figure_2_data(metrics: pd.DataFrame) -> pd.DataFrame:
    """Means over the prompts that ask for one of as many integers (section 4.2, appendix A.1).

    `metrics` are rows of `schemas.METRICS`. One row for each model, tuning, panel, n and quantity
    found, sorted by these:

    - panel "formats": the ranges 1 to n, a prompt for each of five formats; panel "sizes": the
      ranges of n integers that start anywhere, a prompt for each of five versions;
    - quantity `entropy` (nats) of the sampled answers, `entropy_exact` (nats) of the answer given
      that it is in the range, and `target_mass`, the probability that it is in the range;
    - mean, ci_low, ci_high: of the prompts' values, each averaged over seeds, their mean and its
      95% t interval, cut at 0 and (`target_mass`) 1; of one prompt it is all between these limits;
    - prompts: how many had the quantity (without an answer in range there is no `entropy_exact`).

    Raises InputError for a prompt of task `ranges` with an id of another form.
    """
    values: dict[tuple[str, str, str, int, str], list[float]] = {}
    for (model, tuning, task, prompt, metric), number in mean_over_seeds(metrics).items():
        if task == TASK and prompt and metric in _MOST and math.isfinite(number.value):
            values.setdefault((model, tuning, *range_of(prompt), metric), []).append(number.value)
    rows = []
    for key, own in sorted(values.items()):
        low, high = mean_interval(own)
        mean = math.fsum(own) / len(own)
        # Rounding may leave a probability a hair above 1; its interval holds it all the same.
        high = max(min(high, _MOST[key[-1]]), mean)
        rows.append((*key, mean, max(low, 0.0), high, len(own)))
    return pd.DataFrame(rows, columns=list(_FRAME)).astype(_FRAME)


def range_of(prompt: str) -> tuple[str, int]:
    """Panel that a prompt's id belongs in, and how many integers its range holds.

    Raises InputError for an id of another form.
    """
    for panel, form in (("formats", _FORMATS), ("sizes", _SIZES)):
        if found := form.fullmatch(prompt):
            return panel, int(found[1])
    raise InputError(
        f"metrics: prompt {prompt!r}, expected ranges/format-F-to-HIGH or ranges/size-N-version-V"
    )
