"""One invocation at a time works in a results folder; a killed one leaves no lock behind."""

import os
from pathlib import Path

from filelock import FileLock, Timeout

from diffuselm.errors import InputError


def hold(folder: Path) -> FileLock:
    """Hold `folder` until this process ends: the kernel drops the lock, whatever ends it.

    Raises InputError where another process holds it, or where it cannot be written.
    """
    holder = folder / ".lock.pid"
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
        holder.write_text(f"{os.getpid()} on {os.uname().nodename}\n", encoding="utf-8")
    except Timeout as error:
        who = holder.read_text(encoding="utf-8").strip() if holder.is_file() else "unknown"
        raise InputError(
            f"{folder}: another invocation is at work (process {who}); expected to be the only "
            "one: wait for it, or stop it"
        ) from error
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror or error}); expected room for results"
        ) from error
    return lock
