"""YAML and JSON read as they are written: no repeated key, no text taken for something else."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from diffuselm.errors import InputError, quoted


class _DistinctLoader(yaml.SafeLoader):
    """Safe YAML without repeated keys, of which the last would win silently, and of text alone."""

    def construct_scalar(self, node: yaml.ScalarNode) -> str:
        text = super().construct_scalar(node)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise yaml.constructor.ConstructorError(
                problem=f"{quoted(text)} holds half a pair of escapes; expected both, or the "
                "character itself",
                problem_mark=node.start_mark,
            ) from error
        return text

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


# YAML 1.1 reads 010 as 8, 1_000 as 1000 and 1:30 as 90.
_DIGITS = re.compile(r"0|-?[1-9][0-9]{0,99}")


class _ConfigLoader(_DistinctLoader):
    """Safe YAML whose whole numbers are those that a reader sees."""

    def construct_whole_number(self, node: yaml.ScalarNode) -> int:
        read = self.construct_yaml_int(node)
        if not _DIGITS.fullmatch(node.value):
            raise yaml.constructor.ConstructorError(
                problem=f"YAML reads {node.value!r} as {quoted(read)}; expected plain digits",
                problem_mark=node.start_mark,
            )
        return read


class _StrictLoader(_DistinctLoader):
    """Safe YAML that takes no text for a number, a date or nothing, nor for a truth value.

    But for `true` and `false` as they are.
    """

    def construct_whole_number(self, node: yaml.ScalarNode) -> int:
        return int(node.value) if _DIGITS.fullmatch(node.value) else self.refuse(node)

    def construct_truth(self, node: yaml.ScalarNode) -> Any:
        return node.value == "true" if node.value in ("true", "false") else self.refuse(node)

    def refuse(self, node: yaml.ScalarNode) -> Any:
        if not node.value:
            return None  # a key without a value: the checks that follow name the key
        kind = node.tag.rpartition(":")[2]
        raise yaml.constructor.ConstructorError(
            problem=f"YAML reads {node.value!r} as {kind}; expected text (put it in quotes)",
            problem_mark=node.start_mark,
        )


for _loader in (_ConfigLoader, _StrictLoader):
    _loader.add_constructor("tag:yaml.org,2002:int", _loader.construct_whole_number)
_StrictLoader.add_constructor("tag:yaml.org,2002:bool", _StrictLoader.construct_truth)
for _kind in ("null", "timestamp"):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _StrictLoader.refuse)


def read_text(path: Path, expected: str) -> str:
    """Read UTF-8 text; raises InputError, which says what was `expected`, where that fails."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected {expected}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: not readable as UTF-8 text ({error}); expected {expected}"
        ) from error


def read_yaml(path: Path, loader: type[_DistinctLoader] = _StrictLoader) -> object:
    """Read a YAML file; raises InputError, one line with the place, for anything unfit."""
    text = read_text(path, "a YAML file")
    try:
        return yaml.load(text, loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "not YAML"
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise InputError(f"{path}: {where}: {problem}") from error


def check_keys(path: Path) -> None:
    """Raise InputError where a YAML file (or a JSON file) is not what a reader takes it for.

    It has a key twice in one mapping, or digits that stand for another number.
    """
    read_yaml(path, _ConfigLoader)


def read_json(path: Path) -> object:
    """Read a JSON file; raises InputError, one line, also for NaN, which Python would read."""
    return _parsed(read_text(path, "a JSON file"), f"{path}", "a JSON file")


def read_json_lines(path: Path) -> Iterator[tuple[int, object]]:
    """The lines of a file, each with its number, blank ones left out; raises as `read_json`."""
    lines = read_text(path, "JSON, a value a line").split("\n")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, _parsed(line, f"{path}: line {number}", "a JSON value a line")


def _parsed(text: str, where: str, expected: str) -> object:
    try:
        found = json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_number)
        json.dumps(found, ensure_ascii=False).encode()  # half a pair of \u escapes is no text
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON: {error}; expected {expected}") from error
    return found


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{quoted(key)} appears twice; expected distinct keys")
        found[key] = value
    return found


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant}; expected a number")
