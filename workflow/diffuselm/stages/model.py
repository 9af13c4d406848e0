"""Stage `models`: check a model folder and record what it is, so that its results can say."""

import json
from pathlib import Path

from diffuselm.errors import InputError
from diffuselm.provenance import file_hash, write_json


def run(*, name: str, path: Path, stand_in: bool, paper_model: str | None, out: Path) -> None:
    """Write the model's record: its folder, family, and the hash of each of its files."""
    config = _read_json(path / "config.json", "a model folder that transformers loads")
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        raise InputError(f"{path}: no *.safetensors file; expected weights in safetensors")
    if not any((path / file).exists() for file in ("tokenizer.json", "tokenizer.model")):
        raise InputError(f"{path}: no tokenizer.json or tokenizer.model; expected a tokenizer")
    write_json(
        out,
        {
            "model": name,
            "path": str(path),
            "architecture": config.get("architectures"),
            "stand_in": stand_in,
            "paper_model": paper_model,
            "files": {file.name: file_hash(file) for file in _parts(path)},
        },
    )


def _parts(path: Path) -> list[Path]:
    """The files that decide what a model answers."""
    suffixes = (".json", ".safetensors", ".jinja", ".model")
    return sorted(file for file in path.iterdir() if file.suffix in suffixes)


def _read_json(path: Path, expected: str) -> dict:
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected {expected}") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON ({error}); expected {expected}") from error
