"""Settings and values as options of the command line."""

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from diffuselm.config.base import Settings


def options(settings: Settings | None = None, **values: Any) -> str:
    """`--rank 4 --target-modules q_proj v_proj`: of all settings, then of single values.

    None and what is empty are left out; a mapping is one JSON object. For `params`, which must not
    come from `input`: Snakemake does not compare such ones, so that a changed setting among them
    would go unnoticed.
    """
    given = {} if settings is None else settings.model_dump(mode="json")
    words: list[str] = []
    for name, value in (given | values).items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(option if value else f"{option}=false")
        elif isinstance(value, Mapping):
            words += [option, json.dumps(value, ensure_ascii=False)] if value else []
        elif isinstance(value, Iterable) and not isinstance(value, str):
            words += [option, *map(str, value)] if value else []
        elif value is not None:
            words += [option, str(value)]
    return shlex.join(words)
