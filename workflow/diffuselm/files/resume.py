"""Going on with a job that was killed: what it had finished, and a lock against doing it twice."""

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
from filelock import FileLock, Timeout

from diffuselm.errors import InputError
from diffuselm.files.json_files import read_json, write_json
from diffuselm.files.tables import read_table, write_rows

log = logging.getLogger(__name__)

KEY = "key.json"


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold the lock of a job that keeps its progress at `path`; wait while another process has it.

    The lock's file stays beside `path`. The kernel frees the lock of a process that was killed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        held = lock.acquire(blocking=False)
    except Timeout:
        log.warning("%s: the same job runs in another process; waiting for its end", path)
        held = lock.acquire(poll_interval=0.5)
    with held:
        yield


@contextmanager
def resumed(folder: Path, key: str) -> Iterator["Finished"]:
    """Hold a job's lock, and yield the pieces that it finished before, kept in `folder`.

    `key` is all that the job depends on (settings, inputs, code): pieces of another key are
    removed. Raises InputError where the folder holds files of something else.
    """
    with only_one(folder):
        finished = Finished(folder)
        if not _is_of(folder, key):
            finished.remove()  # first, so that no piece outlives its key
            write_json(folder / KEY, {"key": key})
        yield finished


class Finished:
    """The finished pieces of one job, a table each; they stay until they are cleared."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def table(self, name: str, schema: pa.Schema, make: Callable[[], Iterable[dict]]) -> pa.Table:
        """The stored piece of that name, such as `samples/names/english`, or else made and stored.

        `make` gives its rows. A damaged piece is made again, with a warning.
        """
        path = self.folder / f"{quote(name, safe='')}.parquet"
        if path.exists():
            try:
                return read_table(path, schema)
            except InputError as error:
                log.warning("%s is made again: %s", name, error)
        write_rows(path, make(), schema)
        return read_table(path, schema)

    def clear(self) -> None:
        """Remove the folder, once the job's outputs are written."""
        self.remove()
        shutil.rmtree(self.folder)

    def remove(self) -> None:
        for piece in self.folder.glob("*.parquet"):
            piece.unlink()


def _is_of(folder: Path, key: str) -> bool:
    """Whether a folder's pieces are of that key; raises InputError where they are none at all."""
    kept = folder / KEY
    if kept.exists():
        try:
            return read_json(kept).get("key") == key
        except InputError as error:
            log.warning("what was finished is made again: %s", error)
    elif strangers := [path.name for path in folder.glob("[!.]*")]:
        raise InputError(
            f"{folder}: holds {min(strangers)} and no {KEY}; expected no such folder, or one of a "
            "job's finished pieces"
        )
    return False
