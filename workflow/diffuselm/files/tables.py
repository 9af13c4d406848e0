"""Parquet files: written whole with a checksum in every page, and checked when they are read."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

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


def write_rows(path: Path, rows: Iterable[dict], schema: pa.Schema) -> None:
    """Write dictionaries, one per row, as `write_table` does."""
    write_table(path, pa.Table.from_pylist(list(rows), schema=schema), schema)


def read_table(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a Parquet file; raises InputError where it is damaged, or lacks columns of `schema`."""
    try:
        content = pa.BufferReader(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a Parquet file") from error
    try:
        file = pq.ParquetFile(content, page_checksum_verification=True)
        table = file.read()
        table.validate(full=True)
        if table.num_rows != file.metadata.num_rows:  # no page's checksum covers either count
            raise ValueError(f"{table.num_rows} rows where {file.metadata.num_rows} were written")
        columns = table.column_names
    except Exception as error:  # Arrow raises many kinds for a damaged footer
        found = " ".join(str(error).split())
        raise InputError(
            f"{path}: is damaged or not Parquet ({found}); expected it whole; "
            "delete it and run again"
        ) from error
    try:
        return table.select(schema.names).cast(schema)
    except (KeyError, pa.ArrowException) as error:
        found = " ".join(str(error).split())
        raise InputError(
            f"{path}: columns are {columns}, expected {schema.names} ({found})"
        ) from error
