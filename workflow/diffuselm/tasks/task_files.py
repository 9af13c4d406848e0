"""Tasks as users give them: a YAML file, or prompt files as the paper's authors published them."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from diffuselm.config.base import Settings
from diffuselm.config.strict_files import read_text, read_yaml
from diffuselm.errors import InputError, quoted
from diffuselm.tasks.prompts import BIOGRAPHIES, Count, NaturalNames, Prompt
from diffuselm.tasks.published_prompts import SLUGS, TASKS, read_published
from diffuselm.tasks.records import Records
from diffuselm.tasks.texts import TargetSet, slug, target_set, unclear

log = logging.getLogger(__name__)

_SHIPPED = Path(__file__).parents[3] / f"resources/tasks/{BIOGRAPHIES}.yaml"


def load_task(path: Path) -> tuple[Prompt, ...]:
    """Read the prompts of the task that `path` describes, in the order of the file or folder.

    A YAML file TASK.yaml is a mapping `prompts` of slugs to a `text` and its `targets`: a list, a
    mapping of target to weight, or `{draw_from: natural_names, count: N}`; and maybe `max_tokens`,
    how long an answer may be. A file that has `fields`, too, asks for records (see `Records`), and
    its prompts have a `text` alone, with `<FIELD>` for a given field. A JSON file, or a folder of
    them, is as `read_published` says. Warns of targets of which a reader cannot see what they are.
    Raises InputError, naming file and key, for anything else.
    """
    task = task_name(path)
    try:
        slug(task)
    except InputError as error:
        raise InputError(f"{path}: name of a task: {error}") from error
    published = path.is_dir() or path.suffix == ".json"
    prompts = _read_json(task, path) if published else _read_yaml(task, path)
    for prompt in prompts:
        for found in unclear(_written(prompt)):
            log.warning("%s: %s: %s; expected one that a reader sees", path, prompt.id, found)
    return prompts


def _written(prompt: Prompt) -> list[str]:
    """The texts of a prompt's targets, or of their fields, that somebody wrote."""
    if prompt.targets is not None:
        return list(prompt.targets.texts)
    fields = prompt.records.fields.values() if prompt.records else ()
    return list(dict.fromkeys(text for field in fields for text in field.listed))


def _read_json(task: str, path: Path) -> tuple[Prompt, ...]:
    records = _records_file(_SHIPPED).records if task == BIOGRAPHIES else None
    return read_published(task, task_inputs(path), records)


def _read_yaml(task: str, path: Path) -> tuple[Prompt, ...]:
    found = read_yaml(path)
    if isinstance(found, dict) and "fields" in found:
        return tuple(_records_file(path).of_task(task, path))
    keys = "prompts, max_tokens; of a prompt text, targets; of its targets draw_from, count"
    read = _TaskFile.read(found, path, keys)
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
    """The files that a task is read from: of a folder its JSON files, else `path` and its lists."""
    if not path.is_dir():
        # Most name none, and one may be a job's that is yet to run.
        names_lists = path.suffix != ".json" and path.exists() and b"file:" in path.read_bytes()
        listed = _lists(read_yaml(path)) if names_lists else ()
        return [path, *(path.parent / source["file"] for source in listed)]
    files = _json_files(path)
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


def _kind_of_targets(found: object) -> str:
    drawn = isinstance(found, dict) and "draw_from" in found
    return f"[{found['draw_from']}]" if drawn else "[texts]"


Text = Annotated[str, AfterValidator(_instruction)]
Slug = Annotated[str, AfterValidator(slug)]


class _Entry(Settings):
    text: Text
    targets: Annotated[
        Annotated[TargetSet, BeforeValidator(target_set), Tag("[texts]")]
        | Annotated[NaturalNames, Tag("[natural_names]")],
        Discriminator(
            _kind_of_targets,
            custom_error_type="draw_from",
            custom_error_message="It should be draw_from: natural_names",
        ),
    ]

    def prompt(self, id: str, max_tokens: int | None) -> Prompt:
        given = isinstance(self.targets, TargetSet)
        return Prompt(
            id=id,
            text=self.text,
            targets=self.targets if given else None,
            draw=None if given else self.targets,
            max_tokens=max_tokens,
        )


class _TaskFile(Settings):
    prompts: Annotated[dict[Slug, _Entry], Field(min_length=1)]
    max_tokens: Count | None = None


class _Request(Settings):
    text: Text


class _RecordsFile(Records):
    prompts: Annotated[dict[Slug, _Request], Field(min_length=1)]
    max_tokens: Count | None = None

    @property
    def records(self) -> Records:
        """What the file says of the records alone."""
        return Records.subset_of(self)

    def of_task(self, task: str, path: Path) -> Iterator[Prompt]:
        """A prompt for each text and each combination of given values.

        Raises InputError for a text that has not exactly the given fields in it.
        """
        given = {name for name, field in self.fields.items() if field.given}
        cases, records = self.given_cases(), self.records
        for name, request in self.prompts.items():
            named = {n for n in re.findall(r"<([a-z0-9_]+)>", request.text) if n in self.fields}
            if wrong := sorted(named ^ given):
                lacks = f"no <{wrong[0]}>, which is given; expected it in the text"
                strange = f"<{wrong[0]}> is not given; expected given: true, or no such mark"
                problem = lacks if wrong[0] in given else strange
                raise InputError(f"{path}: prompts.{name}.text: {problem}")
            for number, (values, share) in enumerate(cases, start=1):
                text = request.text
                for given_name, value in values.items():
                    text = text.replace(f"<{given_name}>", value)
                yield Prompt(
                    id=f"{task}/{name}-{number}" if given else f"{task}/{name}",
                    text=text,
                    fields=len(self.asked),
                    ends=False,
                    max_tokens=self.max_tokens,
                    records=records,
                    given=values,
                    share=share,
                )


def _records_file(path: Path) -> _RecordsFile:
    """Read a task file of records, and the lists that it names beside it."""
    found = read_yaml(path)
    for source in _lists(found):
        if "values" in source:
            raise InputError(f"{path}: found values and file; expected one of them")
        source["values"] = _read_list(path.parent / source.pop("file"))
    keys = (
        "record, fields, prompts, count, max_tokens; of a field values, file, range, "
        "dates, by, each, draw_from, kind, given; of a prompt text"
    )
    return _RecordsFile.read(found, path, keys)


def _lists(found: object) -> Iterator[dict[str, Any]]:
    """The sources of a task file that name a file of values."""
    fields = found.get("fields") if isinstance(found, dict) else None
    for field in fields.values() if isinstance(fields, dict) else ():
        each = field.get("each") if isinstance(field, dict) else None
        for source in (field, *(each.values() if isinstance(each, dict) else ())):
            if isinstance(source, dict) and isinstance(source.get("file"), str):
                yield source


def _read_list(path: Path) -> dict[str, float]:
    """Values and weights: a value a line, maybe a tab and its weight, by default 1."""
    values: dict[str, float] = {}
    lines = read_text(path, "a value a line").removeprefix("\ufeff").split("\n")
    for number, line in enumerate(lines, start=1):
        text, tab, weight = line.rstrip("\r").partition("\t")
        if not line.strip():
            continue
        if text in values:
            raise InputError(f"{path}: line {number}: {quoted(text)} appears twice; expected once")
        try:
            values[text] = float(weight) if tab else 1
        except ValueError as error:
            raise InputError(
                f"{path}: line {number}: weight {quoted(weight)}; expected a number after the tab"
            ) from error
    try:
        target_set(values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return values
