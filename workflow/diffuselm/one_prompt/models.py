"""A model by the name that a person gives it: a folder, a GGUF file, or an id on the hub."""

import os
import re
import sys
import tempfile
from pathlib import Path

from huggingface_hub import constants

from diffuselm.config.models import OpeningSettings
from diffuselm.errors import InputError
from diffuselm.files.json_files import read_json, write_json
from diffuselm.files.provenance import file_hash
from diffuselm.model.opening import OpenModel, open_model
from diffuselm.model.source.conversion import convert
from diffuselm.model.source.hub import fetch
from diffuselm.plan.fingerprint import fingerprint
from diffuselm.stages.record import record

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def open_named(
    model: str, revision: str | None, settings: OpeningSettings, adapter: Path | None = None
) -> OpenModel:
    """Open the model, with an adapter on top: through the stages that a workflow has for it.

    From then on this process asks no hub. Raises InputError where there is no such model.
    """
    where = Path(model)
    name = where.stem if where.is_file() else where.absolute().name
    with tempfile.TemporaryDirectory() as folder:
        made, recorded = (Path(folder) / f"{file}.json" for file in ("made", name))
        if where.is_dir():
            write_json(made, {"path": str(where.absolute())})
        elif where.is_file():
            made = _converted(where, name)
        elif HUB_ID.fullmatch(model) and where.suffix != ".gguf":
            write_json(made, _fetched(model, revision))
        else:
            raise InputError(
                f"--model: no folder or file {model}; expected a model folder, a GGUF file, or an "
                "id on the hub such as Qwen/Qwen3-0.6B"
            )
        if revision is not None and "repo" not in read_json(made):
            raise InputError(f"--revision: {model} is on this disk; expected a model of the hub")
        # PEFT would ask for the base model's files whenever it saves an adapter.
        constants.HF_HUB_OFFLINE, os.environ["HF_HUB_OFFLINE"] = True, "1"
        record(name=name, made=made, settings=settings, out=recorded)
        return open_model(recorded, adapter)


def _fetched(repo: str, revision: str | None) -> dict[str, str]:
    """The record of a download: of the newest commit, unless another one is asked for."""
    try:
        fetched = fetch(repo, revision or "main")
    except InputError as error:
        raise InputError(f"--model: no folder or file {repo}, and of the hub: {error}") from error
    print(f"{repo}: commit {fetched['commit']}", file=sys.stderr)
    return fetched


def _converted(gguf: Path, name: str) -> Path:
    """The record of a GGUF file's conversion, in the user's cache: made there once for all."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "diffuselm/gguf"
    folder = cache / f"{name}-{file_hash(gguf)[:16]}-{fingerprint('model/source')[:8]}"
    made = folder.with_name(f"{folder.name}.json")
    if not (made.is_file() and folder.is_dir()):
        print(f"{gguf.name}: converting it, once, into {folder}", file=sys.stderr)
        convert(name=name, gguf=gguf, folder=folder, out=made)
    return made
