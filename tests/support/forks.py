"""Processes that begin as forks of one that has imported what takes seconds."""

import multiprocessing
import os
import sys
from collections.abc import Sequence
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path

ROOT = Path(__file__).parents[2]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["torch", "filelock", "pytest", "snakemake.cli"])


@cache
def shared_server() -> str | None:
    """The socket of a process that jobs of any `snakemake` may fork from; None without one."""
    from diffuselm import warm

    warm.start()
    return os.environ.pop(warm.SOCKET, None)


def start_snakemake(
    folder: Path, words: Sequence[str], log: Path, server: str | None = None
) -> BaseProcess:
    """Start `python -m snakemake` in a folder, as the leader of a session; it writes to `log`.

    Where it would start a process for its jobs to fork from, they fork from `server`, if given.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    process = FORKS.Process(target=_main, args=(folder, list(words), log, environment, server))
    process.start()
    return process


def _main(
    folder: Path, words: list[str], log: Path, environment: dict[str, str], server: str | None
) -> None:
    from snakemake.cli import main

    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    with log.open("wb") as out:
        for stream in (1, 2):
            os.dup2(out.fileno(), stream)
    # The package is that of the folder's workflow.
    of_tests = (str(ROOT / "tests"), str(ROOT / "workflow"))
    sys.path[:] = [place for place in sys.path if not place.startswith(of_tests)]
    if server:
        sys.path.insert(0, str(folder / "workflow"))
        from diffuselm import warm

        warm.start = lambda: os.environ.update({warm.SOCKET: server})
    main(words)
