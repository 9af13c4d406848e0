"""YAML read as it is written: no repeated key, no text taken for something else."""

import re
from pathlib import Path
from typing import Any

import yaml

from diffuselm.errors import InputError


class _DistinctLoader(yaml.SafeLoader):
    """Safe YAML without repeated keys, of which the last would win silently."""

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


class _StrictLoader(_DistinctLoader):
    """Safe YAML that reads what is written: no repeated key, no text taken for something else."""

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


def read_yaml(path: Path) -> object:
    """Read a YAML file; raises InputError, one line with the place, for anything unfit."""
    return _read(path, _StrictLoader)


def check_keys(path: Path) -> None:
    """Raise InputError where a YAML file (or a JSON file) has a key twice in one mapping."""
    _read(path, _DistinctLoader)


def _read(path: Path, loader: type[_DistinctLoader]) -> object:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), loader)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected a YAML file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); expected YAML") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "not YAML"
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise InputError(f"{path}: {where}: {problem}") from error
