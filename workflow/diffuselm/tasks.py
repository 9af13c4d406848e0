"""Tuning tasks: prompts, and the distribution over target strings that each is tuned toward."""

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from diffuselm.errors import InputError
from diffuselm.seeds import derive

# The Snakefile imports this module in every cluster job: numpy and pyarrow are imported where a
# function needs them.
if TYPE_CHECKING:
    import pyarrow as pa

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


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
        if not self.texts:
            raise InputError("no targets; expected at least one")
        if len(self.texts) != len(self.weights):
            raise InputError(
                f"{len(self.texts)} targets with {len(self.weights)} weights; expected one each"
            )
        seen = set()
        for text in self.texts:
            _check_target(text)
            if text in seen:
                raise InputError(f"{text!r} appears twice; expected distinct targets")
            seen.add(text)
        for text, weight in zip(self.texts, self.weights, strict=True):
            _check_weight(text, weight)
        if abs(math.fsum(self.weights) - 1) > 1e-12:
            raise InputError(f"weights sum to {math.fsum(self.weights)!r}; expected 1")

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
class NaturalNames:
    """A target set still to be drawn: `count` names from the natural distribution of names."""

    count: int


@dataclass(frozen=True)
class Prompt:
    """One instruction of a task: its id `task/slug`, its text, and what it is tuned toward."""

    id: str
    text: str
    targets: TargetSet | NaturalNames


def load_task(path: Path) -> tuple[Prompt, ...]:
    """Read the prompts of the task that `path` (named TASK.yaml) describes, in the file's order.

    Raises InputError, one line that names the file and the key, for anything but a mapping
    `prompts` of slugs to a `text` and its `targets`: a list, a mapping of target to weight, or
    `{draw_from: natural_names, count: N}`.
    """
    path = Path(path)
    _check_slug(path.stem, f"{path}: the file's name")
    task = _mapping(_read_yaml(path), ["prompts"], str(path))
    prompts = task["prompts"]
    if not isinstance(prompts, dict) or not prompts:
        raise InputError(f"{path}: prompts: {_shown(prompts)}; expected a mapping of prompts")
    return tuple(_prompt(path, slug, entry) for slug, entry in prompts.items())


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
    positive = int((p > 0).sum())
    if positive < count:
        raise InputError(
            f"{positive} names with positive probability; expected at least the {count} to draw"
        )
    drawn = np.random.default_rng(seed).choice(len(p), count, replace=False, p=p / math.fsum(p))
    return tuple(natural_names[i] for i in drawn)


def target_set(prompt: Prompt, natural: "pa.Table | None", seed: int) -> TargetSet:
    """Resolve the prompt's target set, drawing it from `natural` where the task says so.

    `natural` has the columns name and probability; `seed` is the config's one number, from which
    the draw derives its own. Raises InputError where the names are needed and lacking.
    """
    if isinstance(prompt.targets, TargetSet):
        return prompt.targets
    if natural is None:
        raise InputError(f"{prompt.id}: targets are drawn from natural_names; expected their file")
    names, probabilities = (natural.column(c).to_pylist() for c in ("name", "probability"))
    own_seed = derive(seed, "targets", prompt.id)
    return TargetSet.uniform(draw_names(names, probabilities, prompt.targets.count, own_seed))


def write_targets(task_path: Path, natural_path: Path | None, seed: int, out: Path) -> None:
    """Write the target sets of all prompts of a task: columns prompt, text, weight.

    The stage `targets`. Texts have no braces. `natural_path` (columns name, count, probability)
    is read only where a prompt draws from it. Raises InputError as the functions above do.
    """
    from diffuselm import contracts

    prompts = load_task(task_path)
    natural = None
    if natural_path is not None and any(isinstance(p.targets, NaturalNames) for p in prompts):
        natural = contracts.read_table(Path(natural_path), contracts.NATURAL)
    rows = []
    for prompt in prompts:
        try:
            targets = target_set(prompt, natural, seed)
        except InputError as error:
            raise InputError(f"{natural_path or task_path}: {error}") from error
        for text, weight in zip(targets.texts, targets.weights, strict=True):
            rows.append({"prompt": prompt.id, "text": text, "weight": weight})
    contracts.write_rows(Path(out), rows, contracts.TARGETS)


def _check_target(text: str) -> None:
    if not isinstance(text, str) or text != text.strip() or text.splitlines() != [text]:
        raise InputError(f"{text!r}; expected one line of text without spaces around it")
    if "{" in text or "}" in text:
        raise InputError(f"{text!r} holds a brace; expected none, for they are put around it")


def _check_weight(text: str, weight: float) -> None:
    # An int beyond the largest float is as little use as infinity.
    if not isinstance(weight, int | float) or not 0 < weight <= sys.float_info.max:
        raise InputError(f"{text!r} weighs {_shown(weight)}; expected a finite positive number")


def _check_slug(slug: object, where: str) -> None:
    if not isinstance(slug, str) or not SLUG.fullmatch(slug):
        raise InputError(
            f"{where}: {_shown(slug)}; expected lower-case letters and digits joined by hyphens"
        )


def _prompt(path: Path, slug: object, entry: object) -> Prompt:
    _check_slug(slug, f"{path}: prompts")
    where = f"{path}: prompts.{slug}"
    entry = _mapping(entry, ["text", "targets"], where)
    text = entry["text"]
    if not isinstance(text, str) or not text or text != text.strip():
        raise InputError(
            f"{where}.text: {_shown(text)}; expected text without white space around it"
        )
    try:
        targets = _targets(entry["targets"])
    except InputError as error:
        raise InputError(f"{where}.targets: {error}") from error
    return Prompt(f"{path.stem}/{slug}", text, targets)


def _targets(found: object) -> TargetSet | NaturalNames:
    if isinstance(found, list):
        return TargetSet.uniform([_target_text(value) for value in found])
    if not isinstance(found, dict):
        raise InputError(f"{_shown(found)}; expected a list, a mapping to weights, or draw_from")
    if "draw_from" not in found:
        texts = [_target_text(value) for value in found]
        return TargetSet.weighted(texts, list(found.values()))
    draw = _mapping(found, ["draw_from", "count"], "draw_from")
    if draw["draw_from"] != "natural_names":
        raise InputError(f"draw_from: {_shown(draw['draw_from'])}; expected natural_names")
    if type(draw["count"]) is not int or draw["count"] < 1:
        raise InputError(f"count: {_shown(draw['count'])}; expected a whole number of 1 or more")
    return NaturalNames(draw["count"])


def _target_text(value: object) -> str:
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise InputError(f"{_shown(value)}; expected text or a whole number (quote anything else)")
    return value


def _mapping(found: object, keys: list[str], where: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise InputError(f"{where}: {_shown(found)}; expected a mapping of {', '.join(keys)}")
    for key in found:
        if key not in keys:
            raise InputError(f"{where}: unknown key {_shown(key)}; expected {', '.join(keys)}")
    for key in keys:
        if key not in found:
            raise InputError(f"{where}: no key {key!r}; expected {', '.join(keys)}")
    return found


def _shown(value: object) -> str:
    """Show a value in an error's one line; lists and mappings by kind, for they can be endless."""
    if isinstance(value, dict | list):
        kind = "mapping" if isinstance(value, dict) else "list"
        return f"a {kind}" if value else f"an empty {kind}"
    if value is None:
        return "nothing"
    return f"{value!r} ({type(value).__name__})"


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that reads what is written: no repeated key, no text taken for something else."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        scalars = (key for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key in scalars:  # any other kind of key is refused by the base class
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key.value!r} appears twice; expected distinct keys",
                    problem_mark=key.start_mark,
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_whole_number(self, node: yaml.ScalarNode) -> int:
        # YAML 1.1 reads 010 as 8, 1_000 as 1000 and 1:30 as 90.
        if not re.fullmatch(r"0|-?[1-9][0-9]{0,99}", node.value):
            return self.refuse(node)
        return int(node.value)

    def refuse(self, node: yaml.ScalarNode) -> Any:
        if not node.value:
            return None  # a key without a value: the checks that follow name the key
        kind = node.tag.rpartition(":")[2]
        raise yaml.constructor.ConstructorError(
            problem=f"YAML reads {node.value!r} as {kind}; expected text (put it in quotes)",
            problem_mark=node.start_mark,
        )


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_whole_number)
for _kind in ("bool", "null", "timestamp"):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _StrictLoader.refuse)


def _read_yaml(path: Path) -> object:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected a task in YAML") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); expected YAML") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "not YAML"
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise InputError(f"{path}: {where}: {problem}") from error
