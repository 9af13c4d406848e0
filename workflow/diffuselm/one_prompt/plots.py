"""The probabilities of answers as bars: of a model, or before and after it was tuned."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from diffuselm.errors import InputError
from diffuselm.one_prompt.scoring import Scores
from diffuselm.one_prompt.shown import escaped
from diffuselm.paper.drawing import (
    BASE,
    REFERENCE,
    TUNED,
    in_style,
    page,
    plot_text,
    save_figure,
)

MOST = 40  # answers in a plot
KINDS = (".png", ".pdf")


def check_plot(path: Path | None) -> None:
    """Raise InputError where a plot cannot be written in the format that its name asks for."""
    if path is not None and path.suffix not in KINDS:
        raise InputError(f"--plot: {path}; expected a name that ends in {' or '.join(KINDS)}")


@in_style
def draw(path: Path, asked: str, series: Mapping[str, Scores]) -> None:
    """Draw the likeliest answers, by their probability in the first series, with their targets."""
    first, *_ = series.values()
    order = np.argsort(-first.log_probs, kind="stable")[:MOST]
    texts = first.prompt.targets
    figure = page(0.9 + 0.16 * len(series) * len(order))
    panel = figure.subplots()
    places, height = np.arange(len(order)), 0.8 / len(series)
    for row, (label, scores) in enumerate(series.items()):
        at = places + height * (row - (len(series) - 1) / 2)
        colour = TUNED if row == len(series) - 1 else BASE
        panel.barh(
            at, scores.probabilities[order], height, color=colour, label=plot_text(label, 40)
        )
    panel.scatter(first.weights[order], places, marker="|", s=60 * len(series), color=REFERENCE,
                  label="target", zorder=3)  # fmt: skip
    panel.set_yticks(places, [plot_text(escaped(texts[n]), 40) for n in order])
    panel.invert_yaxis()
    panel.set_xlim(left=0)
    panel.set_xlabel("probability")
    panel.grid(axis="x")
    panel.tick_params(axis="y", length=0)
    shown = "" if len(order) == len(texts) else f" (the {MOST} likeliest of {len(texts)})"
    panel.set_title(plot_text(escaped(asked), 90) + shown)
    figure.legend(loc="outside lower center", ncols=len(series) + 1)
    save_figure(path, figure)
