"""What made a result: the record in the run.json beside it, and hashes of what it was made from."""

import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from diffuselm import __version__

LIBRARIES = ("torch", "transformers", "peft", "tokenizers", "numpy", "pandas", "pyarrow", "scipy")


def run_record(
    *, settings: Mapping[str, Any], seed: int, model: Mapping[str, Any] | None, device: str
) -> dict[str, Any]:
    """Resolved settings, versions, commit, model, device, seconds and peak memory of this process.

    Memory is in bytes. The commit is that of this project, not of the folder it runs in.
    """
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "settings": dict(settings),
        "seed": seed,
        "model": model,
        "device": device,
        "seconds": round(time.time() - psutil.Process().create_time(), 3),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "peak_gpu_memory_bytes": _peak_gpu_memory(),
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


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(content: Any) -> str:
    """SHA-256 of what JSON can hold, in hexadecimal, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _peak_gpu_memory() -> int | None:
    """Over all GPUs; None where torch was not imported or finds none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return sum(map(torch.cuda.max_memory_allocated, range(torch.cuda.device_count())))


def _cpu() -> str:
    """The model of the processor, as Linux names it; elsewhere its architecture."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


@cache
def _git(*words: str) -> str | None:
    """What git prints about this project's checkout; None outside one."""
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
