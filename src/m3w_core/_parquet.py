"""
Rows of CSV as PostgreSQL sends them, made a Parquet file.

Columns are made of many rows at a time, by the C++ of pyarrow: a Python object for each value would cost more than all
the rest of an export.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from m3w_core.export import ExportError, Sink

#: Rows of about this size become one row group: what the memory holds at a time.
_GROUP_BYTES = 8 * 1024 * 1024


class ParquetFile:
    """
    Writes a Parquet file, compressed with Zstandard.

    Args:
        output: Where to.
        columns: PostgreSQL's types by the names of the columns, in the order of the rows.

    Raises:
        ExportError: If pyarrow is not installed.
    """

    def __init__(self, output: Sink, columns: Mapping[str, str]) -> None:
        try:
            import pyarrow as pa
            from pyarrow import csv, parquet
        except ImportError as error:
            raise ExportError(
                "Parquet needs pyarrow: pip install 'media3watch-backend[parquet]', or take another --format"
            ) from error
        types = {
            "bigint": pa.int64(),
            "integer": pa.int32(),
            "real": pa.float32(),
            "text": pa.string(),
            "jsonb": pa.string(),
            "timestamptz": pa.timestamp("us", tz="UTC"),
        }
        schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
        self._read: Any = csv.read_csv
        self._options = {
            "read_options": csv.ReadOptions(column_names=schema.names, block_size=2 * _GROUP_BYTES),
            "parse_options": csv.ParseOptions(newlines_in_values=True),
            # PostgreSQL tells no value from an empty one by the quotes.
            "convert_options": csv.ConvertOptions(
                column_types=schema,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        }
        self._output = output
        self._writer: Any = parquet.ParquetWriter(_Positioned(output), schema, compression="zstd")
        self._rows = io.BytesIO()

    def write(self, row: bytes) -> None:
        """Take a row of CSV."""
        self._rows.write(row)
        if self._rows.tell() >= _GROUP_BYTES:
            self._write_group()

    def close(self) -> None:
        """Write the rest and the file's end."""
        if self._rows.tell():
            self._write_group()
        self._writer.close()
        self._output.close()

    def _write_group(self) -> None:
        self._rows.seek(0)
        self._writer.write_table(self._read(self._rows, **self._options))
        self._rows = io.BytesIO()


class _Positioned(io.RawIOBase):
    """An output that knows how much it has written, which a pipe does not; pyarrow asks it."""

    def __init__(self, output: Sink) -> None:
        self._output = output
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self._output.write(bytes(data))
        self._position += size
        return size

    def tell(self) -> int:
        return self._position
