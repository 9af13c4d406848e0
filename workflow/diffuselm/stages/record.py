"""Stages `record` and `show`: what a checked model folder is, and how its results are shown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from diffuselm.config.models import OpeningSettings
from diffuselm.config.paper import PaperModel
from diffuselm.errors import InputError
from diffuselm.files.json_files import read_json, write_json
from diffuselm.files.provenance import file_hash
from diffuselm.model.chat import ChatFormat
from diffuselm.model.opening import ASKING, check_four_bit, check_quantized, load_chat_format
from diffuselm.model.source.weights import check_weights
from diffuselm.plan.lengths import check_length

REQUEST = "Pick a number."  # stands for all prompts where the chat template is tried


def record(
    *,
    name: str,
    path: Path | None = None,
    made: Path | None = None,
    settings: OpeningSettings = OpeningSettings(),
    stand_in: bool = False,
    paper_model: PaperModel | None = None,
    longest: dict[str, int] | None = None,
    out: Path,
) -> None:
    """Write the model's record: its folder, how it is opened, and the hash of each of its files.

    Args:
        name: the name that results carry.
        path: the model's folder.
        made: or the record of its download or conversion, which names the folder.
        stand_in: a tiny model built by this project.
        paper_model: its counterpart in the paper.
        longest: targets that may be too long, and how many tokens an answer has.
        out: record to write.
    """
    fetched = read_json(made) if made is not None else {}
    found = fetched.get("path") if path is None else str(path)
    if not isinstance(found, str):
        raise InputError(f"{made or name}: no path of a model; expected --path or --made")
    folder = Path(found)
    config = read_json(folder / "config.json")
    template = settings.chat_template and _text(settings.chat_template)
    opening = {**settings.model_dump(mode="json"), "chat_template": template}
    chat = _checked(folder, config, opening)
    for target, most in (longest or {}).items():
        [ids] = chat.answer_ids(REQUEST, [f"{{{target}}}"])
        check_length(target, len(ids), most, folder)
    content = {
        "model": name,
        "path": str(folder),
        "hub": fetched.get("repo"),
        "revision": fetched.get("commit"),
        "source": fetched.get("source"),
        "architecture": config.get("architectures"),
        "stand_in": stand_in,
        "paper_model": paper_model,
        "settings": opening,
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


def _checked(folder: Path, config: Mapping[str, Any], opening: Mapping[str, Any]) -> ChatFormat:
    """How a sound model is spoken to.

    Raises InputError for what would otherwise show only where a job opens the model and asks it.
    `config` is the folder's config.json, `opening` the model's settings.
    """
    if not any(folder.glob("*.safetensors")):
        raise InputError(f"{folder}: no *.safetensors file; expected weights in safetensors")
    if not any((folder / file).exists() for file in ("tokenizer.json", "tokenizer.model")):
        raise InputError(f"{folder}: no tokenizer.json or tokenizer.model; expected a tokenizer")
    check_weights(folder, config)
    check_quantized(folder, config)
    if opening["four_bit"]:
        check_four_bit()
    says_more = folder / "generation_config.json"
    ends = (read_json(says_more) if says_more.exists() else config).get("eos_token_id")
    chat = load_chat_format(folder, ends, **{key: opening[key] for key in ASKING})
    chat.answer_ids(REQUEST, ["{7}"])
    return chat
