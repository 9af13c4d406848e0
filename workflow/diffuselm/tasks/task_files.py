"""Tasks as users give them: a YAML file, or prompt files as the paper's authors published them."""

import logging
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from diffuselm.config.base import Settings
from diffuselm.config.strict_files import read_yaml
from diffuselm.errors import InputError, quoted
from diffuselm.tasks.prompts import (
    FIELDS,
    Count,
    NaturalNames,
    Persons,
    Prompt,
    TargetSet,
    slug,
    unclear,
    value,
)
from diffuselm.tasks.published_prompts import SLUGS, TASKS, read_published

log = logging.getLogger(__name__)


def load_task(path: Path) -> tuple[Prompt, ...]:
    """Read the prompts of the task that `path` describes, in the order of the file or folder.

    A YAML file TASK.yaml is a mapping `prompts` of slugs to a `text` and its `targets`: a list, a
    mapping of target to weight, `{draw_from: natural_names, count: N}`, or `{draw_from: persons}`;
    and maybe `max_tokens`, how long an answer may be. A JSON file, or a folder of them, is as
    `read_published` says. Warns of targets of which a reader cannot see what they are. Raises
    InputError, naming file and key, for anything else.
    """
    task = task_name(path)
    try:
        slug(task)
    except InputError as error:
        raise InputError(f"{path}: name of a task: {error}") from error
    published = path.is_dir() or path.suffix == ".json"
    prompts = read_published(task, task_inputs(path)) if published else _read_yaml(task, path)
    for prompt in prompts:
        for found in unclear(prompt.targets.texts) if prompt.targets else ():
            log.warning("%s: %s: %s; expected one that a reader sees", path, prompt.id, found)
    return prompts


def _read_yaml(task: str, path: Path) -> tuple[Prompt, ...]:
    keys = "prompts, max_tokens; of a prompt text, targets; of its targets draw_from, count"
    read = _TaskFile.read(read_yaml(path), path, keys)
    return tuple(
        entry.prompt(f"{task}/{name}", read.max_tokens) for name, entry in read.prompts.items()
    )


def task_name(path: Path) -> str:
    """The task that a path stands for: a folder's name or a file's stem.

    Folders of the published layout get the names of our tasks, and a single JSON file of that
    layout is of its folder's task, so that results know its prompts by our ids.
    """
    path = path.absolute()
    if path.is_dir():
        return TASKS.get(path.name, path.name)
    folder = TASKS.get(path.parent.name, path.parent.name)
    published = path.suffix == ".json" and path.stem in SLUGS.get(folder, {})
    return folder if published else path.stem


def task_paths(path: Path) -> list[Path]:
    """The tasks that `path` stands for: itself, or else the sub-folders of JSON files in it."""
    if not path.is_dir():
        return [path]
    folders = sorted({file.parent for file in _json_files(path, "[!.]*/")})
    if bool(folders) == bool(_json_files(path)):
        found = "*.json files beside sub-folders of them" if folders else "no *.json files in it"
        raise InputError(
            f"{path}: {found}; expected one task's prompt files, or a folder of them for each task "
            "(a YAML task is given by its file)"
        )
    return folders or [path]


def task_inputs(path: Path) -> list[Path]:
    """The files that a task is read from: `path` itself, or a folder's JSON files, sorted."""
    files = _json_files(path) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: no *.json files in this folder; expected one for each prompt")
    return files


def _json_files(folder: Path, under: str = "") -> list[Path]:
    """Those of a folder, sorted; hidden files are those of editors and file systems."""
    return sorted(folder.glob(f"{under}[!.]*.json"))


def _instruction(text: str) -> str:
    if not text or text != text.strip():
        raise InputError(f"{quoted(text)}; expected text without spaces around it")
    return text


def _target_set(found: object) -> TargetSet:
    """Of a list of targets, or of a mapping of targets to weights."""
    if not isinstance(found, list | dict):
        raise InputError(f"{quoted(found)}; expected a list, a mapping to weights, or draw_from")
    for each in found:
        if not isinstance(each, str | int):
            raise InputError(
                f"{quoted(each)}; expected text or a whole number (quote anything else)"
            )
    weights = list(found.values()) if isinstance(found, dict) else None
    return TargetSet.of([value(str(each)) for each in found], weights)


def _kind_of_targets(found: object) -> str:
    drawn = isinstance(found, dict) and "draw_from" in found
    return f"[{found['draw_from']}]" if drawn else "[texts]"


class _Entry(Settings):
    text: Annotated[str, AfterValidator(_instruction)]
    targets: Annotated[
        Annotated[TargetSet, BeforeValidator(_target_set), Tag("[texts]")]
        | Annotated[NaturalNames, Tag("[natural_names]")]
        | Annotated[Persons, Tag("[persons]")],
        Discriminator(
            _kind_of_targets,
            custom_error_type="draw_from",
            custom_error_message="It should be draw_from: natural_names or draw_from: persons",
        ),
    ]

    def prompt(self, id: str, max_tokens: int | None) -> Prompt:
        given = isinstance(self.targets, TargetSet)
        biography = isinstance(self.targets, Persons)
        return Prompt(
            id=id,
            text=self.text,
            targets=self.targets if given else None,
            draw=None if given else self.targets,
            fields=FIELDS if biography else 1,
            ends=not biography,
            max_tokens=max_tokens,
        )


class _TaskFile(Settings):
    prompts: Annotated[dict[Annotated[str, AfterValidator(slug)], _Entry], Field(min_length=1)]
    max_tokens: Count | None = None
