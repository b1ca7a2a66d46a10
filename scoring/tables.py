"""Rows of Parquet, CSV and JSONL files (.gz, .zst too), streamed: a file of any size takes a few megabytes.

A row that its format cannot read is a row with an error, never a lost one: every row keeps its number. Knows formats.
Knows nothing of what the values mean.
"""

import csv
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec
import pyarrow as pa
from pyarrow import parquet

from bundle.errors import BadInput, DataError
from scoring.store import File, Place

BATCH_ROWS = 256
BATCH_BYTES = 8 * 2**20
"""Of a Parquet file, at once: fewer rows where rows are large."""
BUFFER_BYTES = 2**20
LONGEST_LINE = 64 * 2**20
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
FORMATS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
"""Ending -> format; the last two may be followed by that of a compression."""

Values = dict[str, Any] | BadInput
"""Column -> value, or why the row cannot be read."""


def format_of(path: str) -> str | None:
    """The format that a file's name tells, or None."""
    for ending in COMPRESSIONS:
        path = path.removesuffix(ending)
    return next((name for ending, name in FORMATS.items() if path.lower().endswith(ending)), None)


@dataclass(frozen=True)
class Table:
    """One file of rows."""

    where: Place
    file: File

    @property
    def columns(self) -> dict[str, str]:
        """Its columns with their types, as far as the format tells before it is read.

        Raises:
            DataError: the file cannot be read.
        """
        found: dict[str, str] = _guarded(self.file.path, lambda: _COLUMNS[self._format](self))
        return found

    def rows(self, start: int, columns: Sequence[str]) -> Iterator[Values]:
        """Rows from number `start` on.

        Raises:
            DataError: the file cannot be read (any further).
        """
        return _guarded_rows(self.file.path, _ROWS[self._format](self, start, columns))

    def num_rows(self) -> int | None:
        """How many rows it has, where the format tells."""
        if self._format != "parquet":
            return None
        number: int = _guarded(self.file.path, lambda: int(self.parquet().metadata.num_rows))
        return number

    @property
    def _format(self) -> str:
        return format_of(self.file.path) or "csv"

    def parquet(self) -> Any:
        """The open file; one column chunk is never read at once."""
        source = self.where.files.open_input_file(self.file.path)
        return parquet.ParquetFile(source, buffer_size=BUFFER_BYTES, pre_buffer=False)

    def lines(self) -> Any:
        """A binary stream, uncompressed."""
        stream = self.where.files.open_input_stream(self.file.path, compression=None, buffer_size=BUFFER_BYTES)
        ending = next((kind for end, kind in COMPRESSIONS.items() if self.file.path.endswith(end)), None)
        return pa.CompressedInputStream(stream, ending) if ending else stream


def _guarded(path: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (OSError, ValueError, csv.Error, pa.ArrowException) as cause:
        raise DataError(f"{path}: cannot be read: {cause}") from None


def _guarded_rows(path: str, rows: Iterator[Values]) -> Iterator[Values]:
    try:
        yield from rows
    except (OSError, ValueError, csv.Error, pa.ArrowException) as cause:
        raise DataError(f"{path}: cannot be read any further: {cause}") from None


def _parquet_columns(table: Table) -> dict[str, str]:
    return {field.name: str(field.type) for field in table.parquet().schema_arrow}


def _parquet_rows(table: Table, start: int, columns: Sequence[str]) -> Iterator[Values]:
    """Row groups before `start` are not read."""
    file = table.parquet()
    groups: list[int] = []
    before = 0
    for i in range(file.metadata.num_row_groups):
        size = file.metadata.row_group(i).num_rows
        if groups or before + size > start:
            groups.append(i)
        else:
            before += size
    batches = (
        file.iter_batches(_batch_rows(file.metadata), row_groups=groups, columns=list(columns)) if groups else iter(())
    )
    rows = (row for batch in batches for row in batch.to_pylist())
    yield from islice(rows, start - before, None)


def _batch_rows(metadata: Any) -> int:
    num_bytes = sum(int(metadata.row_group(i).total_byte_size) for i in range(metadata.num_row_groups))
    return max(1, min(BATCH_ROWS, BATCH_BYTES * max(int(metadata.num_rows), 1) // max(num_bytes, 1)))


def _text_stream(table: Table) -> io.TextIOWrapper:
    raw: Any = io.BufferedReader(table.lines(), BUFFER_BYTES)
    return io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _csv_columns(table: Table) -> dict[str, str]:
    with _text_stream(table) as stream:
        return dict.fromkeys(next(csv.reader(stream, strict=True), []), "text")


def _csv_rows(table: Table, start: int, columns: Sequence[str]) -> Iterator[Values]:
    csv.field_size_limit(min(LONGEST_LINE, sys.maxsize))
    with _text_stream(table) as stream:
        reader = csv.reader(stream, strict=True)
        names = next(reader, [])
        for cells in islice(reader, start, None):
            if len(cells) != len(names):
                yield BadInput(f"the row (about line {reader.line_num}) has {len(cells)} cells, the head {len(names)}")
            else:
                yield dict(zip(names, cells, strict=True))


def _jsonl_columns(table: Table) -> dict[str, str]:
    first = next(_jsonl_rows(table, 0, ()), {})
    if isinstance(first, BadInput):
        raise DataError(f"{table.file.path}: its first row shows the columns: {first}")
    return {name: type(value).__name__ for name, value in first.items()}


def _jsonl_rows(table: Table, start: int, columns: Sequence[str]) -> Iterator[Values]:
    with io.BufferedReader(table.lines(), BUFFER_BYTES) as stream:
        lines = iter(lambda: stream.readline(LONGEST_LINE), b"")
        for line in islice((line for line in lines if not line.isspace()), start, None):
            yield _json_row(line)


def _json_row(line: bytes) -> Values:
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as cause:
        return BadInput(f"the line is not JSON: {cause}")
    return row if isinstance(row, dict) else BadInput(f"the line is a JSON {type(row).__name__}, expected an object")


_COLUMNS = {"parquet": _parquet_columns, "csv": _csv_columns, "jsonl": _jsonl_columns}
_ROWS = {"parquet": _parquet_rows, "csv": _csv_rows, "jsonl": _jsonl_rows}
