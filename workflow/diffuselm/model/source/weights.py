"""The safetensors files of a model folder: all there, and each of them whole."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from diffuselm.errors import InputError, quoted

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PLAIN = ("F64", "F32", "F16", "BF16")  # as safetensors names them


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a model's weights: one, or those that an index names.

    Raises InputError where one of them is missing.
    """
    names = [WEIGHTS]
    if not (folder / WEIGHTS).exists():
        if not (folder / INDEX).exists():
            raise InputError(f"{folder}: no {WEIGHTS} or {INDEX}; expected a whole model")
        try:
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            names = sorted({str(name) for name in index["weight_map"].values()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{folder / INDEX}: no weight_map; expected one") from error
    for name in names:
        if not (folder / name).exists():
            raise InputError(f"{folder}: no {quoted(name)}; expected a whole model")
    return [folder / name for name in names]


def check_weights(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise InputError where a file of weights is missing, cut short, or not of plain numbers.

    Weights in 8 bits or fewer mean something only where `config`, that of config.json, says how
    they were scaled: else they would be taken for the numbers themselves. Headers alone are read.
    """
    for file in weight_files(folder):
        try:
            with safe_open(file, framework="np") as weights:
                kinds = {key: weights.get_slice(key).get_dtype() for key in weights.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"{file}: {quoted(str(error))}; expected whole weights in safetensors"
            ) from error
        scaled = [key for key in kinds if key.endswith(".weight") and kinds[key] not in PLAIN]
        if scaled and config.get("quantization_config") is None:
            raise InputError(
                f"{file}: {quoted(scaled[0])} is {kinds[scaled[0]]}, and config.json has no "
                f"quantization_config; expected one, or weights in {', '.join(PLAIN)}"
            )
