"""The Parquet files that stages pass to each other: their columns, and writing them whole."""

import errno
import fcntl
import glob
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError

from diffuselm.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

NATURAL = pa.schema(
    [("name", pa.string()), ("count", pa.int64()), ("probability", pa.float64())],
)
TARGETS = pa.schema([("prompt", pa.string()), ("text", pa.string()), ("weight", pa.float64())])
TRAINING = pa.schema(
    [
        ("step", pa.int64()),
        ("prompt", pa.string()),
        ("loss", pa.float64()),
        ("optimal", pa.float64()),
        ("learning_rate", pa.float64()),
        ("seconds", pa.float64()),
    ]
)
SAMPLES = pa.schema(
    [
        ("prompt", pa.string()),
        ("seed", pa.int64()),
        ("draw", pa.int64()),
        ("text", pa.string()),
        ("value", pa.string()),
        ("valid", pa.bool_()),
        ("logprob", pa.float64()),
        ("truncated", pa.bool_()),
    ]
)
BIOGRAPHIES = pa.schema(
    [
        ("prompt", pa.string()),
        ("seed", pa.int64()),
        ("draw", pa.int64()),
        ("name", pa.string()),
        ("first_name", pa.string()),
        ("last_name", pa.string()),
        ("gender", pa.string()),
        ("birth_date", pa.date32()),  # null where only the year is told
        ("birth_year", pa.int64()),
        ("birth_place", pa.string()),
        ("city", pa.string()),
        ("country", pa.string()),
        ("profession", pa.string()),
        ("accomplishment", pa.string()),
        ("valid", pa.bool_()),
        ("problem", pa.string()),  # why the answer is not valid
        ("duplicate", pa.bool_()),  # an earlier answer has the same text
        ("repeated_name", pa.bool_()),  # an earlier valid one has the same name
        ("text", pa.string()),
    ]
)
# The base model at one temperature after the other.
SWEEP = SAMPLES.insert(0, pa.field("temperature", pa.float64()))
# The loss on each paragraph of a held-out text.
TEXT = pa.schema(
    [("paragraph", pa.int64()), ("tokens", pa.int64()), ("log_prob", pa.float64())],
)
EXACT = pa.schema(
    [
        ("prompt", pa.string()),
        ("target", pa.string()),
        ("probability", pa.float64()),
        ("weight", pa.float64()),
    ]
)
METRICS = pa.schema(
    [
        ("model", pa.string()),
        ("tuning", pa.string()),
        ("task", pa.string()),
        ("prompt", pa.string()),
        ("field", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("n", pa.int64()),
        ("seed", pa.int64()),
    ]
)


# In the footer of every file: SHA-256 of its bytes, themselves with zeros in place of the digits.
SEAL = b"diffuselm sha256="
DIGITS = 64
LOCK = ".lock"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path; it is moved to `path`, safe on disk, only if the block succeeds."""
    with _unfinished(path) as part:
        yield part
        _flush(part)
        part.replace(path)


def remove(path: Path) -> None:
    """Delete a file, if it is there, and what killed writers of it left beside it."""
    path.unlink(missing_ok=True)
    _sweep(path)


@contextmanager
def written_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder; it is moved to `path`, safe on disk, only if the block succeeds.

    A folder that it replaces is gone for the moment between two renames, never half there.
    """
    with _unfinished(path) as part:
        part.mkdir()
        yield part
        for inside in (*part.rglob("*"), part):
            _flush(inside)
        if path.exists():
            path.rename(part.with_name(f"{path.name}.replaced"))
        part.rename(path)


@contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """Yield a path of the same name in a locked folder beside `path`, which then goes.

    Errors of the disk name `path`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        folder, lock = _own_folder(path)
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


def _own_folder(path: Path) -> tuple[Path, IO[bytes]]:
    """A new folder beside `path` and the open, locked file in it that tells that its writer lives.

    The kernel frees the lock of a process that died, whatever machine it ran on. On a file system
    without locks there is none: what a killed process leaves there stays.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        try:
            lock = (folder / LOCK).open("wb")
        except FileNotFoundError:
            continue  # another writer swept the folder away before it was locked
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
            left.rmdir()  # only of a writer killed before it made its lock is it empty
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


def write_table(path: Path, table: "pa.Table | pd.DataFrame", schema: pa.Schema) -> None:
    """Write `table`, cast to `schema`, as one zstd Parquet file, whole or not at all."""
    if not isinstance(table, pa.Table):
        table = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
    table = table.select(schema.names).cast(schema).replace_schema_metadata(None)
    buffer = pa.BufferOutputStream()
    with pq.ParquetWriter(buffer, schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"seal": SEAL + b"0" * DIGITS})
    with written_whole(path) as part:
        part.write_bytes(_sealed(buffer.getvalue().to_pybytes()))


def write_rows(path: Path, rows: Iterable[dict], schema: pa.Schema) -> None:
    """Write dictionaries, one a row, as `write_table` does."""
    write_table(path, pa.Table.from_pylist(list(rows), schema=schema), schema)


def read_table(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a Parquet file and check that it has the columns of `schema`.

    Raises InputError when the file is missing, is not Parquet or not as it was written, or lacks
    or mistypes a column. A file of another program has no seal to check.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a Parquet file") from error
    if raw != _sealed(raw):
        raise _damaged(path, "its content has another SHA-256 than when it was written")
    try:
        table = pq.read_table(pa.BufferReader(raw), page_checksum_verification=True)
        table.validate(full=True)
        columns = table.column_names
    except Exception as error:  # Arrow has many for what a damaged footer may say
        raise _damaged(path, " ".join(str(error).split())) from error
    try:
        return table.select(schema.names).cast(schema)
    except (KeyError, pa.ArrowException) as error:
        found = " ".join(str(error).split())
        raise InputError(
            f"{path}: columns are {columns}, expected {schema.names} ({found})"
        ) from error


def _sealed(raw: bytes) -> bytes:
    """The bytes of a file with the digits of its seal as they should be, if it has a seal."""
    head, label, tail = raw.rpartition(SEAL)
    if not label:
        return raw
    digest = hashlib.sha256(head + label + b"0" * DIGITS + tail[DIGITS:]).hexdigest()
    return head + label + digest.encode() + tail[DIGITS:]


def _damaged(path: Path, why: str) -> InputError:
    return InputError(
        f"{path}: is damaged or not Parquet ({why}); expected it whole; delete it and run again"
    )


def concatenate(paths: Sequence[Path], schema: pa.Schema) -> pa.Table:
    """Read several files of one schema as one table, in the order given."""
    return pa.concat_tables([read_table(path, schema) for path in paths])
