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
        made = model.path is None or model.path.parts[:1] == ("results",)
        if not made and not (model.path / "config.json").is_file():
            raise InputError(
                f"{origin}: models.{name}.path: no {model.path}/config.json; "
                "expected a model folder"
            )
        if model.chat_template is not None and not model.chat_template.is_file():
            raise InputError(
                f"{origin}: models.{name}.chat_template: no file {model.chat_template}; "
                "expected a Jinja file"
            )
        if model.gguf is not None:
            _check_gguf(model, f"{origin}: models.{name}")
    if config.held_out_text is not None:
        read_paragraphs(config.held_out_text)
    for key, path in ((KNOWLEDGE, config.knowledge), (FORM, config.form)):
        if path is not None and path.stem != key:
            raise InputError(f"{origin}: {key}: found {path}; expected a file {key}.yaml")
    questions = config.mt_bench.questions if config.mt_bench else "://"
    if "://" not in questions and not Path(questions).is_file():
        raise InputError(
            f"{origin}: mt_bench.questions: no file {questions}; expected a file or a URL"
        )
    if config.names.file is not None and not config.names.file.is_file():
        raise InputError(
            f"{origin}: names.file: no file {config.names.file}; expected names.zip or yobYYYY.txt"
        )


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
    if model.chat_template is None and not metadata.get("tokenizer.chat_template"):
        raise InputError(
            f"{key}.gguf: {path}: no chat template; expected one inside, or a Jinja file under "
            f"{key.split()[-1]}.chat_template"
        )
    if model.end_tokens is None and metadata.get("tokenizer.ggml.eos_token_id") is None:
        raise InputError(
            f"{key}.gguf: {path}: no end token; expected one inside, or some under "
            f"{key.split()[-1]}.end_tokens"
        )
