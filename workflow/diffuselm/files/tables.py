"""Parquet files: written whole with a checksum in every page, and checked when they are read."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from diffuselm.errors import InputError
from diffuselm.files.whole import written_whole

if TYPE_CHECKING:
    import pandas as pd


def write_table(path: Path, table: "pa.Table | pd.DataFrame", schema: pa.Schema) -> None:
    """Write `table`, cast to `schema`, as one zstd Parquet file, whole or not at all."""
    if not isinstance(table, pa.Table):
        table = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
    table = table.select(schema.names).cast(schema).replace_schema_metadata(None)
    content = pa.BufferOutputStream()
    pq.write_table(table, content, compression="zstd", write_page_checksum=True)
    with written_whole(path) as unfinished:
        unfinished.write_bytes(content.getvalue())


@contextmanager
def written_table(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Yield a writer of such a file, for tables one after another: whole or not at all."""
    with written_whole(path) as unfinished:
        options = {"compression": "zstd", "write_page_checksum": True}
        with pq.ParquetWriter(unfinished, schema, **options) as writer:
            yield writer


def write_rows(path: Path, rows: Iterable[dict], schema: pa.Schema) -> None:
    """Write dictionaries, one per row, as `write_table` does."""
    write_table(path, pa.Table.from_pylist(list(rows), schema=schema), schema)


def read_table(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a Parquet file; raises InputError where it is damaged, or lacks columns of `schema`."""
    with _opened(path) as file:
        content = pa.BufferReader(file.read())
    with _sound(path):
        parquet = pq.ParquetFile(content, page_checksum_verification=True)
        table = parquet.read()
        _check_rows(table, parquet.metadata.num_rows)
    return _cast(table, schema, path)


def read_parts(path: Path, schema: pa.Schema) -> Iterator[pa.Table]:
    """Read it part by part, as they were written: no more than one is in memory."""
    with _opened(path) as file:
        with _sound(path):
            parquet = pq.ParquetFile(file, page_checksum_verification=True)
            groups = parquet.num_row_groups
        for group in range(groups):
            with _sound(path):
                part = parquet.read_row_group(group)
                _check_rows(part, parquet.metadata.row_group(group).num_rows)
            yield _cast(part, schema, path)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a Parquet file") from error


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Arrow raises many kinds for a damaged footer
        found = " ".join(str(error).split())
        raise InputError(
            f"{path}: is damaged or not Parquet ({found}); expected it whole; "
            "delete it and run again"
        ) from error


def _check_rows(table: pa.Table, written: int) -> None:
    table.validate(full=True)
    if table.num_rows != written:  # no page's checksum covers either count
        raise ValueError(f"{table.num_rows} rows where {written} were written")


def _cast(table: pa.Table, schema: pa.Schema, path: Path) -> pa.Table:
    try:
        return table.select(schema.names).cast(schema)
    except (KeyError, pa.ArrowException) as error:
        found = " ".join(str(error).split())
        raise InputError(
            f"{path}: columns are {table.column_names}, expected {schema.names} ({found})"
        ) from error
