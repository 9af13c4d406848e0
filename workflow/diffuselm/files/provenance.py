"""run.json: what made a result, kept beside it."""

import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from diffuselm import __version__
from diffuselm.errors import InputError
from diffuselm.files.contracts import written_whole

LIBRARIES = ("torch", "transformers", "peft", "tokenizers", "numpy", "pandas", "pyarrow", "scipy")
STARTED = time.monotonic()


def run_record(
    *, settings: Mapping[str, Any], seed: int, model: Mapping[str, Any] | None, device: str
) -> dict[str, Any]:
    """Resolved settings, versions, commit, model, device, seconds and peak memory of this process.

    Memory is in bytes. The commit is that of this project, not of the folder it runs in.
    """
    changes = _git("status", "--porcelain", "--untracked-files=no")
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and torch.cuda.is_available()
    return {
        "settings": dict(settings),
        "seed": seed,
        "model": model,
        "device": device,
        "seconds": round(time.monotonic() - STARTED, 3),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "peak_gpu_memory_bytes": (
            sum(map(torch.cuda.max_memory_allocated, range(torch.cuda.device_count())))
            if on_gpu
            else None
        ),
        "diffuselm": __version__,
        "commit": _git("rev-parse", "HEAD"),
        "dirty": None if changes is None else bool(changes),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        },
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises InputError for a missing file or anything else in it."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}); expected an object") from error
    if not isinstance(record, dict):
        raise InputError(f"{path}: holds a {type(record).__name__}; expected a JSON object")
    return record


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as indented JSON, whole or not at all."""
    with written_whole(path) as part:
        part.write_text(
            json.dumps(record, indent=2, default=str, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(content: Any) -> str:
    """SHA-256 of what JSON can hold, in hexadecimal, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def verify(path: Path, sha256: str | None) -> None:
    """Raise InputError where a file is not the one whose hash its run.json tells, if it tells."""
    if sha256 is None:
        return
    try:
        found = file_hash(path)
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}; expected a file, as its run.json says; "
            "delete the folder and run again"
        ) from error
    if found != sha256:
        raise InputError(
            f"{path}: SHA-256 is {found}, expected {sha256} as its run.json says; "
            "delete the folder and run again"
        )


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Verify all files of a folder that its run.json names, by their hashes."""
    for name, sha256 in files.items():
        verify(folder / name, sha256)


def _cpu() -> str:
    """The model of the processor, as Linux names it; elsewhere its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def check_tokenizer_config(folder: Path) -> None:
    """Raise InputError where nothing says what a tokenizer's special tokens are.

    transformers would open it in silence, and the chat template write no beginning of sequence.
    """
    if not (folder / "tokenizer_config.json").is_file():
        raise InputError(
            f"{folder}: no tokenizer_config.json; expected the file that names the tokenizer's "
            "special tokens"
        )


@cache
def _git(*words: str) -> str | None:
    """One line of git's about this project's checkout; None outside one."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        answer = subprocess.run(
            ["git", *words],
            cwd=Path(__file__).parent,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"no commit recorded: {error}", file=sys.stderr)
        return None
    return answer.stdout.strip()
