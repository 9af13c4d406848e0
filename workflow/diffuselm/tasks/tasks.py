"""Tuning tasks: prompts, and the distribution over target strings that each is tuned toward."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from diffuselm.config.strict_yaml import read_yaml
from diffuselm.errors import InputError, quoted
from diffuselm.files.seeds import derive
from diffuselm.tasks.persons import draw_persons, opening
from diffuselm.tasks.prompt_files import (
    SLUG,  # noqa: F401 (categories of MT-Bench are named likewise)
    PromptFile,
    braced_value,
    check_slug,
    mapping,
    read_prompt_files,
    shown,
    task_name,
)

# The Snakefile imports this module in every cluster job: numpy and pyarrow are imported where a
# function needs them.
if TYPE_CHECKING:
    import pyarrow as pa

BIOGRAPHIES = "biographies"  # the task whose answers have six braced values (section 6)
_LINES = 4  # of a biography's six, those that are tuned on (section 6.1)


@dataclass(frozen=True)
class TargetSet:
    """The strings of a target set, without braces, and the probability of each (sums to 1).

    Raises InputError where a text is not one clean line, is repeated, or holds a brace (the
    answer puts it between braces, which also makes the set prefix-free, as section 3.1 asks), and
    where the weights are no probability distribution.
    """

    texts: tuple[str, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the texts, then the weights."""
        texts, weights = self.texts, self.weights
        if not texts:
            raise InputError("no targets; expected at least one")
        if len(texts) != len(weights):
            raise InputError(f"{len(texts)} targets with {len(weights)} weights; expected one each")
        seen = set()
        for text in texts:
            self._check_text(text)
            bare = text.removesuffix("\n")  # which the beginning of a biography may have
            if bare in seen:
                raise InputError(f"{quoted(text)} appears twice; expected distinct targets")
            seen.add(bare)
        for text, weight in zip(texts, weights, strict=True):
            _check_weight(text, weight)
        if abs(math.fsum(weights) - 1) > 1e-12:
            raise InputError(f"weights sum to {math.fsum(weights)!r}; expected 1")

    @staticmethod
    def _check_text(text: str) -> None:
        if not isinstance(text, str) or text != text.strip() or text.splitlines() != [text]:
            raise InputError(f"{quoted(text)}; expected one line of text without spaces around it")
        if "{" in text or "}" in text:
            raise InputError(f"{quoted(text)} holds a brace; expected none: the answer puts them")

    @classmethod
    def uniform(cls, texts: Sequence[str]) -> Self:
        """Give each of `texts` the same weight."""
        return cls.weighted(texts, [1] * len(texts))

    @classmethod
    def weighted(cls, texts: Sequence[str], weights: Sequence[float]) -> Self:
        """Scale `weights`, any finite positive numbers, so that they sum to 1."""
        for text, weight in zip(texts, weights, strict=True):
            _check_weight(text, weight)
        # By the largest first: the sum of huge weights can be beyond a float.
        largest = max(weights, default=1)
        scaled = [weight / largest for weight in weights]
        total = math.fsum(scaled)
        return cls(tuple(texts), tuple(weight / total for weight in scaled))


@dataclass(frozen=True)
class Openings(TargetSet):
    """A target set of beginnings of biographies: the first four lines, as `persons.opening`.

    Braces and line breaks are included, the last one where it is a target's own; of each line's
    value the same is asked as of a target.
    """

    @staticmethod
    def _check_text(text: str) -> None:
        lines = text.removesuffix("\n").split("\n")
        if len(lines) != _LINES:
            raise InputError(f"{quoted(text)}; expected {_LINES} lines of one braced value each")
        for line in lines:
            TargetSet._check_text(braced_value(line))


@dataclass(frozen=True)
class NaturalNames:
    """A target set still to be drawn: `count` names from the natural distribution of names."""

    count: int


@dataclass(frozen=True)
class Persons:
    """A target set still to be drawn: the first four fields of biographies (section 6.1)."""


@dataclass(frozen=True)
class Prompt:
    """One instruction of a task: its id `task/slug`, its text, and what it is tuned toward."""

    id: str
    text: str
    targets: TargetSet | NaturalNames | Persons
    openings: tuple[str, ...] = ("",)  # before each target, with even shares of its weight
    ends: bool = True  # whether the end token after a target is tuned on too
    max_tokens: int | None = None  # of an answer, where the task says so

    @property
    def fields(self) -> int:
        """Braced values of an answer; of more than one, the targets are only the first ones."""
        return 6 if isinstance(self.targets, Persons | Openings) else 1


def load_task(path: Path) -> tuple[Prompt, ...]:
    """Read the prompts of the task that `path` describes, in the order of the file or folder.

    A YAML file TASK.yaml is a mapping `prompts` of slugs to a `text` and its `targets`: a list, a
    mapping of target to weight, `{draw_from: natural_names, count: N}`, or `{draw_from: persons}`;
    and maybe `max_tokens`, how long an answer may be.
    A JSON file, or a folder of them, is as the paper's authors published theirs: `request`,
    `response`, `targets`, maybe `weights` and `eos`. Targets are one braced value each; those of
    `biographies` four braced lines, after which an answer goes on: no `eos` of true there.
    Raises InputError, one line that names the file and the key, for anything else.
    """
    path = Path(path)
    task = task_name(path)
    check_slug(task, f"{path}: the {'folder' if path.is_dir() else 'file'}'s name")
    if path.is_dir() or path.suffix == ".json":
        return tuple(_published_prompt(task, file) for file in read_prompt_files(path))
    content = mapping(read_yaml(path), ["prompts"], str(path), ["max_tokens"])
    prompts, longest = content["prompts"], content.get("max_tokens")
    if longest is not None and (type(longest) is not int or longest < 1):
        raise InputError(
            f"{path}: max_tokens: {shown(longest)}; expected a whole number of 1 or more"
        )
    if not isinstance(prompts, dict) or not prompts:
        raise InputError(f"{path}: prompts: {shown(prompts)}; expected a mapping of prompts")
    return tuple(_prompt(path, slug, entry, longest) for slug, entry in prompts.items())


def task_of(prompt: str) -> str:
    """The task of a prompt id `task/slug`."""
    return prompt.partition("/")[0]


def draw_names(
    natural_names: Sequence[str], probabilities: Sequence[float], count: int, seed: int
) -> tuple[str, ...]:
    """Draw `count` distinct names as repeated draws from the natural distribution give them.

    A name that was drawn before is dropped and drawing goes on, so frequent names tend to come
    first (section 4.2). The same arguments give the same names. Raises InputError where
    the two sequences are no distribution over distinct names, or have fewer than `count` names of
    positive probability.
    """
    import numpy as np

    p = np.asarray(probabilities, dtype=float)
    if len(natural_names) != len(p) or len(set(natural_names)) != len(natural_names):
        raise InputError("names repeat or lack a probability; expected one for each distinct name")
    if not (np.isfinite(p).all() and (p >= 0).all() and abs(math.fsum(p) - 1) <= 1e-6):
        raise InputError("probabilities of names; expected finite, none negative, and a sum of 1")
    if (positive := int((p > 0).sum())) < count:
        raise InputError(
            f"{positive} names with positive probability; expected at least the {count} to draw"
        )
    drawn = np.random.default_rng(seed).choice(len(p), count, replace=False, p=p / math.fsum(p))
    return tuple(natural_names[i] for i in drawn)


def target_texts(
    prompt: Prompt, natural: "pa.Table | None", seed: int
) -> tuple[Sequence[str], Sequence[float]]:
    """The prompt's target texts and weights, drawn where the task says so.

    Beginnings of biographies are whole lines with their braces; all other texts are without.
    `natural` has the columns name and probability; `seed` is the config's one number, from which
    the draw derives its own. Raises InputError where the names are needed and lacking.
    """
    own_seed = derive(seed, "targets", prompt.id)
    if isinstance(prompt.targets, TargetSet):
        return prompt.targets.texts, prompt.targets.weights
    if isinstance(prompt.targets, Persons):
        openings = [opening(person) for person in draw_persons(own_seed)]
        return openings, [1 / len(openings)] * len(openings)
    if natural is None:
        raise InputError(f"{prompt.id}: targets are drawn from natural_names; expected their file")
    names, probabilities = (natural.column(c).to_pylist() for c in ("name", "probability"))
    drawn = TargetSet.uniform(draw_names(names, probabilities, prompt.targets.count, own_seed))
    return drawn.texts, drawn.weights


def write_targets(task_path: Path, natural_path: Path | None, seed: int, out: Path) -> None:
    """Write the target sets of all prompts of a task: columns prompt, text, weight.

    The stage `targets`. `natural_path` (columns name, count, probability) is read only where a
    prompt draws from it. Raises InputError as the functions above do.
    """
    from diffuselm.files import contracts

    prompts = load_task(task_path)
    natural = None
    if natural_path is not None and any(isinstance(p.targets, NaturalNames) for p in prompts):
        natural = contracts.read_table(Path(natural_path), contracts.NATURAL)
    rows = []
    for prompt in prompts:
        try:
            texts, weights = target_texts(prompt, natural, seed)
        except InputError as error:
            raise InputError(f"{natural_path or task_path}: {error}") from error
        for text, weight in zip(texts, weights, strict=True):
            rows.append({"prompt": prompt.id, "text": text, "weight": weight})
    contracts.write_rows(Path(out), rows, contracts.TARGETS)


def _check_weight(text: str, weight: float) -> None:
    # An int beyond the largest float is as little use as infinity; a bool is an int.
    number = isinstance(weight, int | float) and weight is not True
    if not number or not 0 < weight <= sys.float_info.max:
        raise InputError(
            f"{quoted(text)} weighs {shown(weight)}; expected a finite positive number"
        )


def _prompt(path: Path, slug: object, entry: object, max_tokens: int | None) -> Prompt:
    check_slug(slug, f"{path}: prompts")
    where = f"{path}: prompts.{slug}"
    entry = mapping(entry, ["text", "targets"], where)
    text = entry["text"]
    if not isinstance(text, str) or not text or text != text.strip():
        raise InputError(f"{where}.text: {shown(text)}; expected text without spaces around it")
    try:
        targets = _targets(entry["targets"])
    except InputError as error:
        raise InputError(f"{where}.targets: {error}") from error
    ends = not isinstance(targets, Persons)
    return Prompt(f"{path.stem}/{slug}", text, targets, ends=ends, max_tokens=max_tokens)


def _published_prompt(task: str, file: PromptFile) -> Prompt:
    sketches = task == BIOGRAPHIES
    if sketches and file.ends:
        raise InputError(f"{file.path}: eos: true; expected false: a biography goes on there")
    key = "targets"
    try:
        if sketches:
            targets = Openings.uniform(file.targets)
        else:
            targets = TargetSet.uniform([braced_value(target) for target in file.targets])
        key = "weights"
        if file.weights is not None:
            targets = targets.weighted(targets.texts, file.weights)
    except InputError as error:
        raise InputError(f"{file.path}: {key}: {error}") from error
    ends = not sketches and file.ends is not False
    return Prompt(f"{task}/{file.slug}", file.request, targets, file.openings, ends)


def _targets(found: object) -> TargetSet | NaturalNames | Persons:
    if isinstance(found, list):
        return TargetSet.uniform([_target_text(value) for value in found])
    if not isinstance(found, dict):
        raise InputError(f"{shown(found)}; expected a list, a mapping to weights, or draw_from")
    if "draw_from" not in found:
        texts = [_target_text(value) for value in found]
        return TargetSet.weighted(texts, list(found.values()))
    if found["draw_from"] == "persons":
        mapping(found, ["draw_from"], "draw_from")
        return Persons()
    draw = mapping(found, ["draw_from", "count"], "draw_from")
    if draw["draw_from"] != "natural_names":
        raise InputError(
            f"draw_from: {shown(draw['draw_from'])}; expected natural_names or persons"
        )
    if type(draw["count"]) is not int or draw["count"] < 1:
        raise InputError(f"count: {shown(draw['count'])}; expected a whole number of 1 or more")
    return NaturalNames(draw["count"])


def _target_text(value: object) -> str:
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise InputError(f"{shown(value)}; expected text or a whole number (quote anything else)")
    return value
