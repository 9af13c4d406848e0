"""The command line: one command per stage, and errors as one line."""

import errno
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import typer

from diffuselm import __version__
from diffuselm.commands import (  # noqa: F401 (they add commands)
    adapters,
    data,
    models,
    mt_bench,
    render,
)
from diffuselm.commands.shared import app
from diffuselm.errors import InputError, NonFiniteLossError

HELP = {
    errno.ENOSPC: "expected room on its disk: free some, then run again",
    errno.EDQUOT: "expected room in your quota: free some, then run again",
    errno.EROFS: "expected a disk that can be written to",
    errno.EACCES: "expected permission to do so",
    errno.EEXIST: "expected a folder there, or nothing",
    errno.ENOTDIR: "expected a folder above it",
    errno.EMFILE: "expected a higher limit of open files (ulimit -n)",
    errno.ENOENT: "expected it to be there",
    errno.EISDIR: "expected a file there, or nothing",
    errno.EPERM: "expected permission to do so",
    errno.ENAMETOOLONG: "expected a shorter name",
    errno.EIO: "expected a sound disk",
}


@app.command()
def schema() -> None:
    """Print the JSON schema of the config."""
    import json

    from diffuselm.config.settings import Config

    typer.echo(json.dumps(Config.model_json_schema(), indent=2, ensure_ascii=False))


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


class _StoppedError(BaseException):
    """A signal asked this process to end."""


def main() -> None:
    """Run a command; whatever ends it is one line on standard error and a non-zero exit code."""
    # PEFT still asks transformers by an older name; nothing a user could act on.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    # The hub is for the one stage that downloads; PEFT would ask it about a base model's files.
    if sys.argv[1:2] != ["download"]:
        os.environ["HF_HUB_OFFLINE"] = "1"
    _on_signals(_stop)
    try:
        app()
    except (InputError, NonFiniteLossError) as error:
        _end(str(error))
    except OSError as error:
        _end(_of_system(error))
    except (MemoryError, RuntimeError) as error:
        # Torch's own class, by name: it is not imported for the sake of an error.
        full = type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator: " in str(error)
        if not isinstance(error, MemoryError) and not full:
            raise
        _end(f"out of memory ({error or type(error).__name__}); expected room for the model's work")
    except _StoppedError as stopped:
        _on_signals(signal.SIG_IGN)
        number = stopped.args[0]
        _end(f"stopped by {signal.Signals(number).name}", 128 + number)


def _end(message: str, code: int = 1) -> NoReturn:
    print(f"error: {' '.join(message.splitlines())}", file=sys.stderr)
    sys.exit(code)


def _of_system(error: OSError) -> str:
    """The file, what the system said of it, and what helps."""
    if error.errno is None:
        return str(error) or type(error).__name__
    name = error.filename2 or error.filename
    found = f"{name}: {error.strerror}" if name else str(error.strerror)
    return f"{found}; {HELP[error.errno]}" if error.errno in HELP else found


def _on_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        # A shell starts what it runs in the background with interrupts ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    raise _StoppedError(number)
