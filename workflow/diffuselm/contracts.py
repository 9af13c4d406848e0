"""The Parquet files that stages pass to each other: their columns, and writing them whole."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

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


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it into place only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def written_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; rename it into place only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield part
        part.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_table(path: Path, table: "pa.Table | pd.DataFrame", schema: pa.Schema) -> None:
    """Write `table`, cast to `schema`, as one zstd Parquet file, whole or not at all."""
    if not isinstance(table, pa.Table):
        table = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
    table = table.select(schema.names).cast(schema).replace_schema_metadata(None)
    with written_whole(path) as part:
        pq.write_table(table, part, compression="zstd")


def write_rows(path: Path, rows: Iterable[dict], schema: pa.Schema) -> None:
    """Write dictionaries, one a row, as `write_table` does."""
    write_table(path, pa.Table.from_pylist(list(rows), schema=schema), schema)


def read_table(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a Parquet file and check that it has the columns of `schema`.

    Raises InputError when the file is missing, is not Parquet, or lacks or mistypes a column.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected a Parquet file") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({error})") from error
    try:
        return table.select(schema.names).cast(schema)
    except (KeyError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"{path}: columns are {table.column_names}, expected {schema.names} ({error})"
        ) from error


def concatenate(paths: Sequence[Path], schema: pa.Schema) -> pa.Table:
    """Read several files of one schema as one table, in the order given."""
    return pa.concat_tables([read_table(path, schema) for path in paths])
