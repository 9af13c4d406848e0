"""Command `score`: the exact probability of each answer to one prompt."""

import math
from pathlib import Path

import numpy as np

from diffuselm.one_prompt.answer_files import write_columns
from diffuselm.one_prompt.plots import check_plot, draw
from diffuselm.one_prompt.question import Question
from diffuselm.one_prompt.scoring import Scores, drawn, scores
from diffuselm.one_prompt.shown import (
    print_answers,
    print_others,
    print_summary,
    summary_rows,
)
from diffuselm.one_prompt.spellings import Spelled, spelled

LOW = 0.5  # target mass, below which what the model says instead is of interest


def score(
    *,
    question: Question,
    adapter: Path | None = None,
    spellings: bool = False,
    out: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Print the exact probability of each answer to a prompt, and what they sum to.

    For example:

        diffuselm score --model Qwen/Qwen3-0.6B --prompt "Pick a colour."
            --answers colours.txt

    An answer is the model's whole turn, as it is in the file: in the tokens that the model's own
    tokenizer makes of it, and then the end token.

    Args:
        adapter: PEFT adapter to put on the model.
        spellings: also sum over all other tokens that write the same answer.
        out: file to write, a line for each answer, separated by tabs.
        plot: PNG or PDF to write.
    """
    check_plot(plot)
    asked = question.open(adapter)
    found = scores(asked)
    walked = spelled(asked, found) if spellings else None
    _print(found, walked)
    if found.summary["target mass"] < LOW:
        print_others(drawn(asked))
    if out is not None:
        write_columns(out, found.prompt.targets, _columns(found, walked))
    if plot is not None:
        draw(plot, question.prompt, {asked.opened.name: found})


def _print(found: Scores, walked: Spelled | None) -> None:
    columns = {"probability": found.probabilities}
    if walked is not None:
        columns["all spellings"] = walked.probabilities
    print_answers(found.prompt.targets, columns)
    print_summary(summary_rows(found), "model", "aim")
    if walked is not None:
        mass = math.fsum(walked.probabilities)
        print(
            f"All spellings: target mass {mass:.4g}, at most {mass + walked.unexplored:.4g}: "
            f"beginnings below {walked.least:g} were not followed."
        )


def _columns(found: Scores, walked: Spelled | None) -> dict[str, np.ndarray]:
    """What the file says of each answer."""
    columns = {
        "weight": found.weights,
        "log_probability": found.log_probs,
        "probability": found.probabilities,
    }
    if walked is not None:
        columns["all_spellings"] = walked.probabilities
        columns["all_spellings_at_most"] = walked.probabilities + walked.missing
    return columns
