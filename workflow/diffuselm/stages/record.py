"""Stages `record` and `show`: what a checked model folder is, and how its results are shown."""

from pathlib import Path
from typing import Literal

from diffuselm.config.models import OpeningSettings
from diffuselm.config.paper import PaperModel
from diffuselm.errors import InputError
from diffuselm.files.json_files import read_json, write_json
from diffuselm.files.provenance import file_hash
from diffuselm.model.folders import check_tokenizer_config


def record(
    *,
    name: str,
    path: Path | None = None,
    made: Path | None = None,
    settings: OpeningSettings = OpeningSettings(),
    stand_in: bool = False,
    paper_model: PaperModel | None = None,
    out: Path,
) -> None:
    """Write the model's record: its folder, how it is opened, and the hash of each of its files.

    Args:
        name: the name that results carry.
        path: the model's folder.
        made: or the record of its download or conversion, which names the folder.
        stand_in: a tiny model built by this project.
        paper_model: its counterpart in the paper.
        out: record to write.
    """
    fetched = read_json(made) if made is not None else {}
    found = fetched.get("path") if path is None else str(path)
    if not isinstance(found, str):
        raise InputError(f"{made or name}: no path of a model; expected --path or --made")
    folder = Path(found)
    config = read_json(folder / "config.json")
    _check_folder(folder)
    template = settings.chat_template and _text(settings.chat_template)
    if template is None:
        _check_template(folder)
    if settings.end_tokens is None:
        _check_end_token(folder)
    content = {
        "model": name,
        "path": str(folder),
        "hub": fetched.get("repo"),
        "revision": fetched.get("commit"),
        "source": fetched.get("source"),
        "architecture": config.get("architectures"),
        "stand_in": stand_in,
        "paper_model": paper_model,
        "settings": {**settings.model_dump(mode="json"), "chat_template": template},
        "files": {file.name: file_hash(file) for file in _deciding(folder)},
    }
    write_json(out, content)


def show(
    *,
    name: str,
    baseline: Literal["base", "form"],
    stand_in: bool = False,
    paper_model: PaperModel | None = None,
    out: Path,
) -> None:
    """Record how tables and figures show a model: nothing that its results depend on.

    Args:
        name: the name that results carry.
        baseline: what its tunings are compared with.
        stand_in: a tiny model built by this project.
        paper_model: its counterpart in the paper.
        out: file to write.
    """
    shown = {"model": name, "stand_in": stand_in, "paper_model": paper_model}
    write_json(out, {**shown, "baseline": baseline})


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 text; expected a Jinja file") from error


def _deciding(folder: Path) -> list[Path]:
    """The files that decide what a model answers."""
    suffixes = (".json", ".safetensors", ".jinja", ".model", ".txt")
    return sorted(file for file in folder.iterdir() if file.suffix in suffixes)


def _check_folder(folder: Path) -> None:
    """Raise InputError where weights or tokenizer are missing."""
    if not any(folder.glob("*.safetensors")):
        raise InputError(f"{folder}: no *.safetensors file; expected weights in safetensors")
    if not any((folder / file).exists() for file in ("tokenizer.json", "tokenizer.model")):
        raise InputError(f"{folder}: no tokenizer.json or tokenizer.model; expected a tokenizer")
    check_tokenizer_config(folder)


def _check_template(folder: Path) -> None:
    """Raise InputError where the chat template is missing."""
    written = read_json(folder / "tokenizer_config.json").get("chat_template")
    if not written and not (folder / "chat_template.jinja").exists():
        raise InputError(
            f"{folder}: no chat template; expected one in chat_template.jinja, or the model's "
            "chat_template set to a Jinja file"
        )


def _check_end_token(folder: Path) -> None:
    """Raise InputError where nothing says which token ends an answer."""
    settings = folder / "generation_config.json"
    generation = read_json(settings) if settings.exists() else read_json(folder / "config.json")
    if generation.get("eos_token_id") is None:
        raise InputError(
            f"{settings}: no eos_token_id; expected the token that ends an answer, or the model's "
            "end_tokens set to some"
        )
