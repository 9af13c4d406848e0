"""Stage `models`: check a model folder and record what it is, so that its results can say."""

from pathlib import Path

from diffuselm.errors import InputError
from diffuselm.provenance import file_hash, read_json, write_json


def run(*, name: str, path: Path, stand_in: bool, paper_model: str | None, out: Path) -> None:
    """Write the model's record: its folder, family, and the hash of each of its files."""
    config = read_json(path / "config.json")
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        raise InputError(f"{path}: no *.safetensors file; expected weights in safetensors")
    if not any((path / file).exists() for file in ("tokenizer.json", "tokenizer.model")):
        raise InputError(f"{path}: no tokenizer.json or tokenizer.model; expected a tokenizer")
    _check_chat(path)
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


def _check_chat(path: Path) -> None:
    """Raise InputError where the chat template or the end token is missing."""
    tokenizer = path / "tokenizer_config.json"
    if not (path / "chat_template.jinja").exists() and not (
        tokenizer.exists() and read_json(tokenizer).get("chat_template")
    ):
        raise InputError(f"{path}: no chat template; expected one in chat_template.jinja")
    settings = path / "generation_config.json"
    generation = read_json(settings) if settings.exists() else read_json(path / "config.json")
    if generation.get("eos_token_id") is None:
        raise InputError(f"{settings}: no eos_token_id; expected the token that ends an answer")
