"""Stage `outside`: prompts that others published, in their own files, as tasks to be measured."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from diffuselm.config.outside import OutsideSettings
from diffuselm.config.strict_files import read_json, read_json_lines
from diffuselm.errors import InputError, quoted
from diffuselm.tasks.prompts import Prompt
from diffuselm.tasks.readings import Reading, folded
from diffuselm.tasks.target_sets import write_prompts
from diffuselm.tasks.texts import TargetSet, value

log = logging.getLogger(__name__)

Spellings = dict[str, tuple[str, ...]]  # of each answer: itself and its aliases
_EXPECTED = (
    "an object of questions and their answers or a list of prompts (.json), or an object with a "
    "prompt a line (.jsonl)"
)


def write_outside(*, task: str, settings: OutsideSettings, out: Path) -> None:
    """Write the target sets of a task to `out`, a Parquet file, and its prompts beside it, as JSON.

    Raises InputError as `read_outside` does.
    """
    write_prompts(out, read_outside(task, settings))


def read_outside(task: str, settings: OutsideSettings) -> tuple[Prompt, ...]:
    """The prompts of a file, with ids TASK/1, TASK/2, … in its order.

    A JSON object has questions, each with a list of answers, or an object with such a list under
    `answers`. An answer is a text, or a list of texts of which each will do; answers that share
    one, as they are read, are one answer, which is warned of. JSON lines have a `prompt` each; a
    JSON list holds prompts. All keys beside these are passed over. Where answers are listed, they
    are the targets, all alike. Raises InputError, one line that names the file and the place.
    """
    path, prompts, shared = settings.file, {}, []
    for where, text, answers in _entries(path):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{path}: {where}: {quoted(text)}; expected the text of a prompt")
        if text in prompts:
            raise InputError(f"{path}: {where}: {quoted(text)} stands twice; expected it once")
        try:
            listed = [] if answers is None else list(_listed(answers))
        except InputError as error:
            raise InputError(f"{path}: {where}: {error}") from error
        spellings = _joined(listed)
        shared += [text] * (len(listed) - len(spellings))
        prompts[text] = Prompt(
            id=f"{task}/{len(prompts) + 1}",
            text=f"{text} {settings.after_prompt}" if settings.after_prompt else text,
            targets=TargetSet.of(list(spellings)) if spellings else TargetSet((), ()),
            reading=Reading(whole=settings.whole_answers, spellings=spellings),
        )
    if not prompts:
        raise InputError(f"{path}: no prompts; expected {_EXPECTED}")
    if shared:
        log.warning(
            "%s: answers that share a spelling with another one to the same question count as one "
            "with it: %d, the first to %s",
            path,
            len(shared),
            quoted(shared[0]),
        )
    return tuple(prompts.values())


def _entries(path: Path) -> Iterator[tuple[str, Any, Any]]:
    """Where each prompt stands, its text, and what is listed as its answers, None where nothing."""
    if path.suffix == ".jsonl":
        for number, found in read_json_lines(path):
            if not isinstance(found, dict) or "prompt" not in found:
                raise InputError(
                    f"{path}: line {number}: {quoted(found)}; expected an object with a prompt"
                )
            yield f"line {number}", found["prompt"], None
        return
    found = read_json(path)
    if isinstance(found, list):
        yield from ((f"prompt {number}", text, None) for number, text in enumerate(found, start=1))
    elif isinstance(found, dict):
        for text, answers in found.items():
            answers = answers.get("answers", answers) if isinstance(answers, dict) else answers
            yield quoted(text), text, answers if answers is not None else ()
    else:
        raise InputError(f"{path}: {quoted(found)}; expected {_EXPECTED}")


def _listed(answers: object) -> Iterator[list[str]]:
    """The spellings of each answer, spaces trimmed as in answers of a model."""
    if not isinstance(answers, list) or not answers:
        raise InputError(f"{quoted(answers)}; expected a list of answers, one or more")
    for number, found in enumerate(answers, start=1):
        texts = found if isinstance(found, list) else [found]
        if not texts:
            raise InputError(f"answer {number}: no text; expected one or more")
        for text in texts:
            if not isinstance(text, str) or not folded(text):
                raise InputError(f"answer {number}: {quoted(text)}; expected text")
        yield [value(text.strip()) for text in texts]


def _joined(answers: Sequence[Sequence[str]]) -> Spellings:
    """The distinct answers, each by its first spelling; those that share one are the same."""
    own: dict[str, dict[str, None]] = {}  # folded spelling -> all spellings of its answer
    for spellings in answers:
        joined: dict[str, None] = {}
        for key in map(folded, spellings):
            joined |= own.get(key, {})
        joined |= dict.fromkeys(spellings)
        own |= dict.fromkeys(map(folded, joined), joined)
    return {next(iter(its)): tuple(its) for its in own.values()}
