"""Files of answers, one a line, and after tabs numbers: weights read, probabilities written."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from diffuselm.config.strict_files import read_text
from diffuselm.errors import InputError, quoted
from diffuselm.files.whole import written_whole
from diffuselm.tasks.texts import TargetSet

EXPECTED = "an answer a line, each with a tab and its weight or none with one"
NUMBER = re.compile(r"\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)


def read_answers(path: Path) -> TargetSet:
    """The answers of a file and their shares: their weights divided by the sum, or all alike.

    Raises InputError, which names the line, for whatever is no list of distinct answers.
    """
    # Windows' editors put a mark of byte order before the first line.
    lines = read_text(path, EXPECTED).removeprefix("\ufeff").removesuffix("\n").split("\n")
    if lines == [""]:
        raise InputError(f"{path}: empty; expected {EXPECTED}")
    weights: dict[str, float] = {}
    for number, line in enumerate(lines, start=1):
        answer, tab, weight = line.partition("\t")
        try:
            _check(answer, weights, weighted="\t" in lines[0], tab=bool(tab))
            weights[answer] = _weight(weight) if tab else 1.0
        except InputError as error:
            raise InputError(f"{path}: line {number}: {error}") from error
    try:
        return TargetSet.of(list(weights), list(weights.values()))
    except InputError as error:  # beside a huge weight, a small one can vanish
        raise InputError(f"{path}: {error}") from error


def write_columns(path: Path, answers: Sequence[str], columns: Mapping[str, np.ndarray]) -> None:
    """Write numbers of each answer, shape (answers,), under a line of headings."""
    lines = ["\t".join(["answer", *columns])]
    for answer, *numbers in zip(answers, *columns.values(), strict=True):
        lines.append("\t".join([answer, *(repr(float(number)) for number in numbers)]))
    with written_whole(path) as part:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _check(answer: str, before: Mapping[str, float], *, weighted: bool, tab: bool) -> None:
    if not answer.strip():
        raise InputError(f"{'no answer' if tab else 'blank'}; expected {EXPECTED}")
    if answer != answer.strip():
        raise InputError(f"{quoted(answer)}; expected no spaces around an answer")
    if answer in before:
        line = list(before).index(answer) + 1
        raise InputError(f"{quoted(answer)} is on line {line} too; expected distinct answers")
    if tab != weighted:
        found = "a weight, and line 1 has none" if tab else "no weight, and line 1 has one"
        raise InputError(f"{found}; expected {EXPECTED}")


def _weight(text: str) -> float:
    weight = float(text) if NUMBER.fullmatch(text) else math.nan
    if not 0 < weight < math.inf:
        raise InputError(f"weight {quoted(text)}; expected a finite number above 0, such as 3")
    return weight
