"""The prompt files that the paper's authors published: JSON, a folder a task, a file a prompt."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffuselm.errors import InputError, quoted

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# Their folders whose names are not those of our tasks.
_TASKS = {
    "baby-names": "names",
    "continent-countries": "countries",
    "day-date": "dates",
    "ficticious-people": "biographies",
    "fictitious-people": "biographies",
}
# Their files, by our task: our slug of each.
_SLUGS = {
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
_BRACED = re.compile(r"\{([^{}]*)\}")
_KEYS = ["request", "response", "targets"]
_OPTIONAL = ["weights", "eos"]


@dataclass(frozen=True)
class PromptFile:
    """One prompt as its file has it: targets in their braces, weights in any scale."""

    path: Path
    slug: str
    request: str
    openings: tuple[str, ...]  # alternatives, one of which stands before the target
    targets: tuple[str, ...]
    weights: tuple[float, ...] | None  # None: all alike
    ends: bool | None  # whether an end token follows the target; None: not told


def task_name(path: Path) -> str:
    """The task that a path stands for: a folder's name or a file's stem.

    Folders of the published layout get the names of our tasks, and a single JSON file of that
    layout is of its folder's task, so that results know its prompts by our ids.
    """
    path = Path(path).absolute()
    if path.is_dir():
        return _TASKS.get(path.name, path.name)
    folder = _TASKS.get(path.parent.name, path.parent.name)
    published = path.suffix == ".json" and path.stem in _SLUGS.get(folder, {})
    return folder if published else path.stem


def task_paths(path: Path) -> list[Path]:
    """The tasks that `path` stands for: itself, or the sub-folders of JSON files in it, sorted.

    Raises InputError for a folder without JSON files in it or in its sub-folders, or with both.
    """
    path = Path(path)
    if not path.is_dir():
        return [path]
    folders = [each for each in _entries(path) if each.is_dir() and _json_files(each)]
    direct = bool(_json_files(path))
    if direct and folders:
        raise InputError(
            f"{path}: *.json files beside sub-folders of them; expected one task's prompts, or "
            "a folder for each task"
        )
    if not direct and not folders:
        raise InputError(
            f"{path}: no *.json files in this folder or its sub-folders; expected prompt files "
            "(a YAML task is given by its file)"
        )
    return [path] if direct else folders


def task_inputs(path: Path) -> list[Path]:
    """The files that a task is read from: `path` itself, or a folder's JSON files, sorted."""
    path = Path(path)
    return _prompts_of(path) if path.is_dir() else [path]


def read_prompt_files(path: Path) -> tuple[PromptFile, ...]:
    """Read the prompts of a task's folder, sorted by file, or the one of a single JSON file.

    A file without targets is passed over where another has its request: it only serves to
    generate. Raises InputError, one line that names file and key, for anything unfit; what the
    targets hold is for the caller to check.
    """
    task = task_name(path)
    files = [_read(file, task) for file in task_inputs(path)]
    tuned = {file.request for file in files if file.targets}
    taken: dict[str, Path] = {}
    kept = []
    for file in files:
        if not file.targets and file.request in tuned:
            continue
        if not file.targets:
            raise InputError(
                f"{file.path}: targets: an empty list; expected at least one, or another file of "
                "the folder with the same request"
            )
        if file.slug in taken:
            raise InputError(
                f"{file.path}: prompt {file.slug!r} is also {taken[file.slug].name}; expected one "
                "file for each prompt"
            )
        taken[file.slug] = file.path
        kept.append(file)
    return tuple(kept)


def braced_value(text: str) -> str:
    """The value that `text` is, without its braces; raises InputError for any other text."""
    found = _BRACED.fullmatch(text)
    if not found:
        raise InputError(f"{quoted(text)}; expected one value between braces")
    return found[1]


def check_slug(slug: object, where: str) -> None:
    """Raise InputError unless `slug` can be part of a prompt's id."""
    if not isinstance(slug, str) or not SLUG.fullmatch(slug):
        raise InputError(
            f"{where}: {shown(slug)}; expected lower-case letters and digits joined by hyphens"
        )


def mapping(found: object, keys: list[str], where: str, optional: Sequence[str] = ()) -> dict:
    """Check that `found` is a mapping with all of `keys`, and none but those and `optional`."""
    expected = ", ".join([*keys, *optional])
    if not isinstance(found, dict):
        raise InputError(f"{where}: {shown(found)}; expected a mapping of {expected}")
    for key in found:
        if key not in keys and key not in optional:
            raise InputError(f"{where}: unknown key {shown(key)}; expected {expected}")
    for key in keys:
        if key not in found:
            raise InputError(f"{where}: no key {key!r}; expected {expected}")
    return found


def shown(value: object) -> str:
    """Show a value in an error's one line; lists and mappings by kind, for they can be endless."""
    if isinstance(value, dict | list):
        kind = "mapping" if isinstance(value, dict) else "list"
        return f"a {kind}" if value else f"an empty {kind}"
    if value is None:
        return "nothing"
    return f"{quoted(value)} ({type(value).__name__})"


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, sorted; hidden files are those of editors and file systems."""
    try:
        return sorted(each for each in folder.iterdir() if not each.name.startswith("."))
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be read ({error.strerror}); expected a folder"
        ) from error


def _json_files(folder: Path) -> list[Path]:
    return [each for each in _entries(folder) if each.suffix == ".json"]


def _prompts_of(folder: Path) -> list[Path]:
    files = _json_files(folder)
    if not files:
        raise InputError(f"{folder}: no *.json files in this folder; expected one for each prompt")
    return files


def _read(path: Path, task: str) -> PromptFile:
    slug = _SLUGS.get(task, {}).get(path.stem, path.stem)
    check_slug(slug, f"{path}: the file's name")
    found = mapping(_parsed(path), _KEYS, str(path), _OPTIONAL)
    request = _text(found["request"], f"{path}: request")
    if not request.strip():
        raise InputError(f"{path}: request: {shown(request)}; expected text")
    targets = found["targets"]
    if not isinstance(targets, list):
        raise InputError(f"{path}: targets: {shown(targets)}; expected a list")
    ends = found.get("eos")
    if "eos" in found and not isinstance(ends, bool):
        raise InputError(f"{path}: eos: {shown(ends)}; expected true or false")
    return PromptFile(
        path,
        slug,
        request,
        _openings(found["response"], f"{path}: response"),
        tuple(_text(target, f"{path}: targets") for target in targets),
        _weights(found, f"{path}: weights"),
        ends,
    )


def _parsed(path: Path) -> object:
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_number)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected a JSON file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); expected JSON") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: line {error.lineno}: {error.msg}; expected JSON") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON of a prompt: {error}") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its pairs; of a key that is there twice, Python would keep the last."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{quoted(key)} appears twice; expected distinct keys")
        found[key] = value
    return found


def _no_number(constant: str) -> None:
    """Refuse NaN and Infinity: Python reads them, JSON does not have them."""
    raise ValueError(f"{constant}; expected a number")


def _text(found: object, where: str) -> str:
    if not isinstance(found, str):
        raise InputError(f"{where}: {shown(found)}; expected text")
    try:
        found.encode()
    except UnicodeEncodeError as error:
        # Half of a pair of \u escapes is JSON, but no text.
        raise InputError(f"{where}: {shown(found)}; expected whole characters") from error
    return found


def _openings(found: object, where: str) -> tuple[str, ...]:
    openings = [_text(one, where) for one in (found if isinstance(found, list) else [found])]
    if not openings:
        raise InputError(f"{where}: an empty list; expected text, or a list of alternatives")
    if len(set(openings)) < len(openings):
        twice = next(one for one in openings if openings.count(one) > 1)
        raise InputError(f"{where}: {quoted(twice)} appears twice; expected distinct alternatives")
    for opening in openings:
        if "{" in opening or "}" in opening:
            raise InputError(f"{where}: {quoted(opening)} holds a brace; expected none")
    return tuple(openings)


def _weights(found: dict[str, Any], where: str) -> tuple[float, ...] | None:
    if found.get("weights", []) == []:
        return None
    weights, count = found["weights"], len(found["targets"])
    if not isinstance(weights, list) or len(weights) != count:
        kind = f"{len(weights)} of them" if isinstance(weights, list) else shown(weights)
        raise InputError(f"{where}: {kind}; expected a list of {count}, one for each target")
    return tuple(weights)
