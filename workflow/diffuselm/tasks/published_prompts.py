"""The prompt files that the paper's authors published: JSON, a folder a task, a file a prompt."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool

from diffuselm.config.base import Settings
from diffuselm.config.strict_files import read_json
from diffuselm.errors import InputError, quoted
from diffuselm.tasks.prompts import Prompt
from diffuselm.tasks.records import Records
from diffuselm.tasks.texts import TargetSet, braced_value, slug

# Their folders whose names are not those of our tasks.
TASKS = {
    "baby-names": "names",
    "continent-countries": "countries",
    "day-date": "dates",
    "ficticious-people": "biographies",
    "fictitious-people": "biographies",
}
# Their files, by our task: our slug of each, where it is not the file's stem.
SLUGS = {
    "names": {"train": "english"},
    "countries": {
        continent: continent
        for continent in ("africa", "asia", "europe", "north-america", "oceania", "south-america")
    },
    "dates": {
        "day-0": "weekday",
        "day-1": "weekday-2",
        "december-0": "december",
        "december-1": "december-2",
        "june-0": "june",
        "june-1": "june-2",
    },
    "biographies": {"ficticious-people-train": "sketch", "fictitious-people-train": "sketch"},
    "fruits": {"fruit-0": "output", "fruit-1": "pick"},
    "numbers": {
        "rng-0": "1-10",
        "rng-1": "1-100",
        "even-0": "even-1-10",
        "even-1": "even-1-100",
        "odd-0": "odd-1-10",
        "odd-1": "odd-1-100",
        "prime-0": "primes-1-50",
        "prime-1": "primes-1-100",
    },
    "occupations": {"occupations-0": "any", "occupations-1": "a", "occupations-2": "m"},
}


def read_published(
    task: str, files: Sequence[Path], records: Records | None = None
) -> tuple[Prompt, ...]:
    """Read the prompts of a task from its JSON files; of biographies, `records` are their fields.

    Each has a `request`, the `targets` in their braces, maybe `weights` in any scale, a `response`
    or alternatives of it, one of which stands before the target, and maybe `eos`, whether an end
    token follows. A target is one value; of records, a line for each field that is tuned on, after
    which the answer goes on: no `eos` of true there. A file without targets is passed over where
    another has its request: it only serves to generate. Raises InputError, one line that names
    file and key.
    """
    model = _RecordsFile if records else _PromptFile
    read = [(path, model.read(read_json(path), path)) for path in files]
    tuned = {found.request for _, found in read if found.targets}
    prompts: dict[str, Prompt] = {}
    for path, found in read:
        if not found.targets and found.request in tuned:
            continue
        try:
            name = slug(SLUGS.get(task, {}).get(path.stem, path.stem))
            if records:
                _check_beginnings(found.targets, len(records.tuned))
            targets = TargetSet.of(found.targets, found.weights or None)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        if name in prompts:
            raise InputError(f"{path}: prompt {name!r} is in another file too; expected it in one")
        prompts[name] = Prompt(
            id=f"{task}/{name}",
            text=found.request,
            targets=targets,
            fields=len(records.asked) if records else 1,
            openings=found.response,
            ends=found.eos,
            records=records,
        )
    return tuple(prompts.values())


def _check_beginnings(texts: Sequence[str], fields: int) -> None:
    """Raise InputError unless each is so many lines of a braced value; the last may end or not."""
    for at, text in enumerate(texts):
        lines = text.removesuffix("\n").split("\n")
        if len(lines) != fields:
            raise InputError(
                f"targets.{at}: {quoted(text)}; expected {fields} lines of one braced value each"
            )
        for line in lines:
            try:
                braced_value(line)
            except InputError as error:
                raise InputError(f"targets.{at}: {error}") from error


def _not_blank(text: str) -> str:
    if not text.strip():
        raise InputError(f"{quoted(text)}; expected text")
    return text


def _alternatives(openings: tuple[str, ...]) -> tuple[str, ...]:
    for opening in openings:
        if openings.count(opening) > 1:
            raise InputError(f"{quoted(opening)} appears twice; expected distinct alternatives")
        if "{" in opening or "}" in opening:
            raise InputError(f"{quoted(opening)} holds a brace; expected none")
    return openings


class _PromptFile(Settings):
    request: Annotated[str, AfterValidator(_not_blank)]
    response: Annotated[
        tuple[str, ...],
        Field(min_length=1),
        BeforeValidator(lambda found: found if isinstance(found, list) else [found]),
        AfterValidator(_alternatives),
    ]
    targets: tuple[Annotated[str, AfterValidator(braced_value)], ...]
    weights: tuple[Any, ...] = ()  # none: all alike
    eos: StrictBool = True


class _RecordsFile(_PromptFile):
    targets: tuple[str, ...]
    eos: Literal[False] = False
