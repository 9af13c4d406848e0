"""Writing files and folders whole or not at all, safe on disk, whoever is killed at whatever time.

A writer works in a hidden folder beside its target and holds the lock of a file in that folder.
The kernel frees the lock of a process that died, whatever machine it ran on, so the next writer of
the same target can tell what is left over from what is in use. On a file system without locks,
what a killed writer leaves stays.
"""

import errno
import fcntl
import glob
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from safetensors import SafetensorError

LOCK = ".lock"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path; it is moved to `path`, safe on disk, only if the block succeeds."""
    with _unfinished(path) as unfinished:
        yield unfinished
        _flush(unfinished)
        unfinished.replace(path)


@contextmanager
def written_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder; it is moved to `path`, safe on disk, only if the block succeeds.

    A folder that it replaces is gone for the moment between two renames, never half there.
    """
    with _unfinished(path) as unfinished:
        unfinished.mkdir()
        yield unfinished
        for inside in (*unfinished.rglob("*"), unfinished):
            _flush(inside)
        if path.exists():
            path.rename(unfinished.with_name(f"{path.name}.replaced"))
        unfinished.rename(path)


def remove(path: Path) -> None:
    """Delete a file, if it is there, and what killed writers of it left beside it."""
    path.unlink(missing_ok=True)
    _sweep(path)


@contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """Yield a path of the same name in a locked folder beside `path`, which is then removed.

    Errors of the disk name `path`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        folder, lock = _locked_folder(path)
        try:
            with lock:
                yield folder / path.name
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        _flush(path.parent)
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error
    except OSError as error:
        hidden = f"{os.sep}.{path.name}."
        if error.errno and (error.filename is None or hidden in f"{os.sep}{error.filename}"):
            error.filename = str(path)
        raise


def _locked_folder(path: Path) -> tuple[Path, IO[bytes]]:
    """A new folder beside `path`, and the open and locked file in it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        try:
            lock = (folder / LOCK).open("wb")
        except FileNotFoundError:
            continue  # another writer removed the folder before it was locked
        except OSError:
            folder.rmdir()
            raise
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / LOCK).exists():
            return folder, lock
        lock.close()


def _sweep(path: Path) -> None:
    """Remove what killed writers of `path` left beside it."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with suppress(OSError):
            left.rmdir()  # it is empty only where its writer was killed before it made the lock
        with suppress(OSError), (left / LOCK).open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)


def _flush(path: Path) -> None:
    """Wait until a file or folder is on disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        # Some file systems cannot do this for a folder.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(file)
