"""Stage `models`: check a model folder and record what it is, so that its results can say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffuselm.errors import InputError
from diffuselm.files.provenance import check_tokenizer_config, file_hash, read_json, write_json


def run(
    *,
    name: str,
    path: Path | None,
    download: Path | None,
    converted: Path | None = None,
    stand_in: bool,
    paper_model: str | None,
    settings: Mapping[str, Any],
    chat_template: Path | None,
    out: Path,
) -> None:
    """Write the model's record: its folder, how it is opened, and the hash of each of its files.

    The folder is `path`, or the one that the record of a download or a conversion names.
    """
    made = download or converted
    fetched = read_json(made) if made is not None else {}
    found = fetched.get("path") if path is None else str(path)
    if not isinstance(found, str):
        raise InputError(
            f"{made or name}: no path of a model; expected --path, --download or --converted"
        )
    folder = Path(found)
    config = read_json(folder / "config.json")
    if not any(folder.glob("*.safetensors")):
        raise InputError(f"{folder}: no *.safetensors file; expected weights in safetensors")
    if not any((folder / file).exists() for file in ("tokenizer.json", "tokenizer.model")):
        raise InputError(f"{folder}: no tokenizer.json or tokenizer.model; expected a tokenizer")
    check_tokenizer_config(folder)
    template = None
    if chat_template is not None:
        try:
            template = chat_template.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{chat_template}: not UTF-8 text; expected a Jinja file") from error
    if template is None:
        _check_template(folder, name)
    if settings["end_tokens"] is None:
        _check_end_token(folder, name)
    write_json(
        out,
        {
            "model": name,
            "path": str(folder),
            "hub": fetched.get("repo"),
            "revision": fetched.get("commit"),
            "source": fetched.get("source"),
            "architecture": config.get("architectures"),
            "stand_in": stand_in,
            "paper_model": paper_model,
            "settings": {**settings, "chat_template": template},
            "files": {file.name: file_hash(file) for file in _parts(folder)},
        },
    )


def _parts(folder: Path) -> list[Path]:
    """The files that decide what a model answers."""
    suffixes = (".json", ".safetensors", ".jinja", ".model", ".txt")
    return sorted(file for file in folder.iterdir() if file.suffix in suffixes)


def _check_template(folder: Path, name: str) -> None:
    """Raise InputError where the chat template is missing."""
    written = read_json(folder / "tokenizer_config.json").get("chat_template")
    if not written and not (folder / "chat_template.jinja").exists():
        raise InputError(
            f"{folder}: no chat template; expected one in chat_template.jinja, or a Jinja file "
            f"under models.{name}.chat_template"
        )


def _check_end_token(folder: Path, name: str) -> None:
    """Raise InputError where nothing says which token ends an answer."""
    settings = folder / "generation_config.json"
    generation = read_json(settings) if settings.exists() else read_json(folder / "config.json")
    if generation.get("eos_token_id") is None:
        raise InputError(
            f"{settings}: no eos_token_id; expected the token that ends an answer, there or "
            f"under models.{name}.end_tokens"
        )
