"""Rows of Parquet, CSV and JSONL files (.gz, .zst too), streamed: a file of any size takes a few megabytes.

A row that its format cannot read is a row with an error, never a lost one: every row keeps its number. Knows formats.
Knows nothing of what the values mean.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import msgspec
import pyarrow as pa
from pyarrow import parquet

from bundle.errors import BadInput, DataError
from scoring.kept import kept_text, kept_values
from scoring.lines import Record, csv_names, csv_records, json_names, json_records
from scoring.listing import File
from scoring.store import Place, reason

BATCH_ROWS = 256
BATCH_BYTES = 8 * 2**20
"""Of a Parquet file, at once: fewer rows where rows are large."""
BUFFER_BYTES = 2**20
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
FORMATS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
"""Ending -> format; those of texts may be followed by that of a compression."""
UNREADABLE = (OSError, ValueError, EOFError, csv.Error, pa.ArrowException)


class Cells(msgspec.Struct, gc=False):
    """What is wanted of one row."""

    inputs: list[Any]
    kept: tuple[Any, ...]


Values = Cells | BadInput
"""Or why the row cannot be read."""


@dataclass(frozen=True)
class Head:
    """What a file says of itself before its rows are read."""

    columns: dict[str, pa.DataType | None]
    """Types are known where the format has some."""
    twice: frozenset[str]
    """Names that more than one column has."""
    num_rows: int | None
    """Where the format tells."""


def format_of(path: str) -> str | None:
    """The format that a file's name tells, or None."""
    name = path.lower()
    plain = name.removesuffix(_compression_ending(name))
    found = next((format_ for ending, format_ in FORMATS.items() if plain.endswith(ending)), None)
    return None if found == "parquet" and plain != name else found


def _compression_ending(name: str) -> str:
    return next((ending for ending in COMPRESSIONS if name.endswith(ending)), "")


@dataclass(frozen=True)
class Table:
    """One file of rows."""

    where: Place
    file: File

    def __str__(self) -> str:
        """Its path as people write it."""
        return self.where.url(self.file.path)

    def head(self) -> Head:
        """Its columns and its size.

        Raises:
            DataError: the file cannot be read.
        """
        try:
            return _HEADS[self._format](self)
        except UNREADABLE as cause:
            raise DataError(f"{self}: cannot be read: {_told(cause)}") from None

    def rows(self, start: int, inputs: Sequence[str], keep: Sequence[str]) -> Iterator[Values]:
        """Rows from number `start` on.

        Raises:
            DataError: the file cannot be read (any further).
        """
        try:
            yield from _ROWS[self._format](self, start, inputs, keep)
        except UNREADABLE as cause:
            raise DataError(f"{self}: cannot be read any further: {_told(cause)}") from None

    @property
    def _format(self) -> str:
        return format_of(self.file.path) or "csv"

    def parquet(self) -> Any:
        """The open file; one column chunk is never read at once."""
        source = self.where.files.open_input_file(self.file.path)
        return parquet.ParquetFile(source, buffer_size=BUFFER_BYTES, pre_buffer=False)

    def stream(self) -> io.BufferedReader:
        """Its bytes, uncompressed."""
        stream = self.where.files.open_input_stream(self.file.path, compression=None, buffer_size=BUFFER_BYTES)
        ending = _compression_ending(self.file.path.lower())
        raw: Any = pa.CompressedInputStream(stream, COMPRESSIONS[ending]) if ending else stream
        return io.BufferedReader(raw, BUFFER_BYTES)


def _told(cause: BaseException) -> str:
    if isinstance(cause, UnicodeError):
        return "it is not UTF-8"
    return reason(cause) if isinstance(cause, Exception) else str(cause)


def _head(names: Sequence[str], types: Sequence[pa.DataType | None], num_rows: int | None) -> Head:
    twice = frozenset(name for name, number in Counter(names).items() if number > 1)
    return Head(dict(zip(names, types, strict=True)), twice, num_rows)


def _parquet_head(table: Table) -> Head:
    with table.parquet() as file:
        schema = file.schema_arrow
        return _head(schema.names, schema.types, int(file.metadata.num_rows))


def _parquet_rows(table: Table, start: int, inputs: Sequence[str], keep: Sequence[str]) -> Iterator[Values]:
    """Row groups before `start` are not read."""
    with table.parquet() as file:
        groups: list[int] = []
        before = 0
        for i in range(file.metadata.num_row_groups):
            size = file.metadata.row_group(i).num_rows
            if groups or before + size > start:
                groups.append(i)
            else:
                before += size
        if groups:
            batches = file.iter_batches(_batch_rows(file.metadata), row_groups=groups, columns=[*inputs, *keep])
            yield from islice(_cells(batches, inputs, keep), start - before, None)


def _cells(batches: Iterator[pa.RecordBatch], inputs: Sequence[str], keep: Sequence[str]) -> Iterator[Cells]:
    for batch in batches:
        wanted = zip(*(batch[name].to_pylist() for name in inputs), strict=True)
        kept = zip(*(kept_values(batch[name]) for name in keep), strict=True) if keep else [()] * batch.num_rows
        for cells, others in zip(wanted, kept, strict=True):
            yield Cells(list(cells), others)


def _batch_rows(metadata: Any) -> int:
    num_bytes = sum(int(metadata.row_group(i).total_byte_size) for i in range(metadata.num_row_groups))
    return max(1, min(BATCH_ROWS, BATCH_BYTES * max(int(metadata.num_rows), 1) // max(num_bytes, 1)))


def _text_head(names_of: Callable[[io.BufferedReader], list[str]], table: Table) -> Head:
    with closing(table.stream()) as stream:
        names = names_of(stream)
    if names:
        return _head(names, [None] * len(names), None)
    with closing(table.stream()) as stream:
        if stream.read(BUFFER_BYTES).strip():
            raise ValueError("it has no columns: no head of a CSV file, no object in the first lines of a JSONL file")
    return Head({}, frozenset(), 0)


def _csv_rows(table: Table, start: int, inputs: Sequence[str], keep: Sequence[str]) -> Iterator[Values]:
    with closing(table.stream()) as stream:
        names = csv_names(stream)
    places, others = [names.index(name) for name in inputs], [names.index(name) for name in keep]

    def cells(row: Record) -> Values:
        if isinstance(row, BadInput):
            return row
        return Cells([row[i] for i in places], tuple(kept_text(row[i]) for i in others))  # type: ignore[index]

    with closing(table.stream()) as stream:
        yield from map(cells, islice(csv_records(stream), start, None))


def _json_rows(table: Table, start: int, inputs: Sequence[str], keep: Sequence[str]) -> Iterator[Values]:
    def cells(row: Record) -> Values:
        if not isinstance(row, dict):
            return row  # type: ignore[return-value]
        return Cells([row.get(name) for name in inputs], tuple(kept_text(row.get(name)) for name in keep))

    with closing(table.stream()) as stream:
        yield from map(cells, islice(json_records(stream), start, None))


_HEADS: dict[str, Callable[[Table], Head]] = {
    "parquet": _parquet_head,
    "csv": partial(_text_head, csv_names),
    "jsonl": partial(_text_head, json_names),
}
_ROWS: dict[str, Callable[[Table, int, Sequence[str], Sequence[str]], Iterator[Values]]] = {
    "parquet": _parquet_rows,
    "csv": _csv_rows,
    "jsonl": _json_rows,
}
