"""JSON files that hold one object."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffuselm.config.strict_files import read_text
from diffuselm.errors import InputError
from diffuselm.files.whole import written_whole


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises InputError for a missing file or anything else in it."""
    try:
        record = json.loads(read_text(path, "a JSON object"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON ({error}); expected a JSON object") from error
    if not isinstance(record, dict):
        raise InputError(f"{path}: holds a {type(record).__name__}; expected a JSON object")
    return record


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as indented JSON, whole or not at all."""
    text = json.dumps(record, indent=2, default=str, ensure_ascii=False)
    with written_whole(path) as unfinished:
        unfinished.write_text(f"{text}\n", encoding="utf-8")
