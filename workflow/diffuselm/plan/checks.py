"""The files that a config names: refused before any job starts where they are not there."""

from pathlib import Path

from diffuselm.config.config import Config
from diffuselm.config.models import ModelSettings
from diffuselm.errors import InputError
from diffuselm.model.source.gguf_files import find_gguf, read_header
from diffuselm.tasks.paragraphs import read_paragraphs

FORM = "form"  # the tuning on single-answer questions alone, and their task
KNOWLEDGE = "knowledge"  # the task of single-answer questions


def check_files(config: Config, origin: str) -> None:
    """Raise InputError for a file that no job will make and that is not there."""
    for name, model in config.models.items():
        key = f"{origin}: models.{name}"
        made = model.path is None or model.path.parts[:1] == ("results",)
        if not made and not (model.path / "config.json").is_file():
            raise InputError(f"{key}.path: no {model.path}/config.json; expected a model folder")
        _check_file(f"{key}.chat_template", model.chat_template, "a Jinja file")
        if model.gguf is not None:
            _check_gguf(model, key)
    if config.held_out_text is not None:
        read_paragraphs(config.held_out_text)
    for key, path in ((KNOWLEDGE, config.knowledge), (FORM, config.form)):
        if path is not None and path.stem != key:
            raise InputError(f"{origin}: {key}: found {path}; expected a file {key}.yaml")
    if config.mt_bench and "://" not in (questions := config.mt_bench.questions):
        _check_file(f"{origin}: mt_bench.questions", Path(questions), "a file or a URL")
    _check_file(f"{origin}: names.file", config.names.file, "names.zip or yobYYYY.txt")


def _check_file(key: str, file: Path | None, expected: str) -> None:
    if file is not None and not file.is_file():
        raise InputError(f"{key}: no file {file}; expected {expected}")


def _check_gguf(model: ModelSettings, key: str) -> None:
    """Raise InputError where a GGUF file is not there, or neither it nor the config says how
    answers begin and end."""
    try:
        path = find_gguf(model.gguf, model.package)
    except InputError as error:
        raise InputError(f"{key}.{error}") from error
    try:
        metadata = read_header(path).metadata
    except InputError as error:
        raise InputError(f"{key}.gguf: {error}") from error
    for setting, name, what, given in (
        ("chat_template", "tokenizer.chat_template", "chat template", "a Jinja file"),
        ("end_tokens", "tokenizer.ggml.eos_token_id", "end token", "some"),
    ):
        if getattr(model, setting) is None and metadata.get(name) in (None, ""):
            raise InputError(
                f"{key}.gguf: {path}: no {what}; expected one inside, or {given} under "
                f"{key.split()[-1]}.{setting}"
            )
