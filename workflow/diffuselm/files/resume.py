"""Going on with a job that was killed: its finished parts, and a lock so that only one goes on."""

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import pyarrow as pa
from filelock import FileLock, Timeout

from diffuselm.errors import InputError
from diffuselm.files.contracts import read_table, write_rows
from diffuselm.files.provenance import read_json, write_json

log = logging.getLogger(__name__)


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold the lock of a job that keeps its progress at `path`; wait while another process has it.

    The lock's file stays beside `path`. The kernel frees the lock of a process that was killed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.warning("%s: the same job runs in another process; waiting for its end", path)
        lock.acquire(poll_interval=0.5)
    try:
        yield
    finally:
        lock.release()


class Parts:
    """The finished parts of one job, in a folder of their own, as a context that holds its lock.

    `key` is all that the job depends on (settings, inputs, code): parts of another key are removed.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key
        self._held = ExitStack()

    def __enter__(self) -> Self:
        """Raises InputError where the folder holds files and is none of parts."""
        with ExitStack() as held:
            held.enter_context(only_one(self.folder))
            self._keep_only_own()
            self._held = held.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let the next one in; the parts stay, unless cleared."""
        self._held.close()

    def table(self, name: str, schema: pa.Schema, make: Callable[[], Iterable[dict]]) -> pa.Table:
        """The stored part of that name, such as `samples/names/english`, or else made and stored.

        `make` gives its rows. A damaged part is made again, with a warning.
        """
        path = self.folder / f"{quote(name, safe='')}.parquet"
        if path.exists():
            try:
                return read_table(path, schema)
            except InputError as error:
                log.warning("part %s is made again: %s", name, error)
        write_rows(path, make(), schema)
        return read_table(path, schema)

    def clear(self) -> None:
        """Remove the folder, once the job's outputs are written."""
        self._remove_parts()
        shutil.rmtree(self.folder)

    def _keep_only_own(self) -> None:
        kept = self.folder / "key.json"
        if kept.exists():
            try:
                if read_json(kept).get("key") == self.key:
                    return
            except InputError as error:
                log.warning("parts are made again: %s", error)
        elif strangers := [path.name for path in self.folder.glob("[!.]*")]:
            raise InputError(
                f"{self.folder}: holds {min(strangers)} and no key.json; expected no such folder, "
                "or one of a job's parts"
            )
        self._remove_parts()
        write_json(kept, {"key": self.key})

    def _remove_parts(self) -> None:
        """Before key.json changes or goes, so that no part outlives what it belongs to."""
        for part in self.folder.glob("*.parquet"):
            part.unlink()
