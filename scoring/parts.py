"""Parts: the output of one shard each, there whole or not at all, as Parquet, CSV or JSONL.

Knows batches of rows and places. Knows nothing of models or of when a shard is finished.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, Protocol

import msgspec
import pyarrow as pa
from pyarrow import csv, parquet

from bundle.errors import DataError
from scoring.columns import plain
from scoring.store import Place, draft_of, publish, reason

Format = Literal["parquet", "csv", "jsonl"]
ROW_GROUP_BYTES = 32 * 2**20
"""Rows are gathered up to about this size before they are written: what a reader has to hold at once."""


class Writer(Protocol):
    """Writes batches into an open stream."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""

    def close(self) -> None:
        """Write the end."""

    def abandon(self) -> None:
        """Let go of it, whatever state it is in."""


class ParquetRows:
    """Row groups of a size that follows from the rows alone, so that a job that is run again writes the same bytes."""

    def __init__(self, stream: Any, schema: pa.Schema) -> None:
        dictionary = ["source", "error", "model", "digest"]
        self._writer = parquet.ParquetWriter(stream, schema, compression="zstd", use_dictionary=dictionary)
        self._gathered: list[pa.RecordBatch] = []
        self._num_bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        self._gathered.append(batch)
        self._num_bytes += batch.nbytes
        if self._num_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left, and the footer."""
        self._flush()
        self._writer.close()

    def abandon(self) -> None:
        """Arrow would write the footer of a dead file when it is forgotten."""
        self._gathered = []
        with suppress(OSError):
            self._writer.close()
        self._writer.is_open = False

    def _flush(self) -> None:
        if self._gathered:
            self._writer.write_table(pa.Table.from_batches(self._gathered))
        self._gathered, self._num_bytes = [], 0


class CsvRows:
    """Numbers and texts as they are; nested values as JSON, bytes in base64."""

    def __init__(self, stream: Any, schema: pa.Schema) -> None:
        self._nested = [field.name for field in schema if not _is_flat(field.type)]
        flat = [pa.field(field.name, pa.string()) if field.name in self._nested else field for field in schema]
        self._schema = pa.schema(flat)
        self._writer = csv.CSVWriter(stream, self._schema)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        if self._nested:
            rows = plain(batch.select(self._nested))
            texts = {name: [_json(row[name]) for row in rows] for name in self._nested}
            arrays = [
                pa.array(texts[name], pa.string()) if name in texts else batch[name] for name in batch.schema.names
            ]
            batch = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        self._writer.write_batch(batch)

    def close(self) -> None:
        """Nothing is left to write."""
        self._writer.close()

    def abandon(self) -> None:
        """The same."""
        self.close()


def _json(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def _is_flat(kind: pa.DataType) -> bool:
    return bool(pa.types.is_primitive(kind) or pa.types.is_string(kind))


class JsonRows:
    """An object a line; bytes in base64."""

    def __init__(self, stream: Any, schema: pa.Schema) -> None:
        self._stream = stream

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        self._stream.write(b"".join(msgspec.json.encode(row) + b"\n" for row in plain(batch)))

    def close(self) -> None:
        """Nothing is left to write."""

    def abandon(self) -> None:
        """Nothing is held."""


WRITERS: dict[str, Callable[[Any, pa.Schema], Writer]] = {"parquet": ParquetRows, "csv": CsvRows, "jsonl": JsonRows}


class Part:
    """One part being written, under a name that nobody takes for a finished one."""

    def __init__(self, output: Place, name: str, schema: pa.Schema, kind: Format) -> None:
        self.name = f"{name}.{kind}"
        self._final, self._draft = output.below(self.name), draft_of(output, self.name)
        self._stream: Any = None
        self._writer: Writer
        self._guarded(lambda: self._open(schema, kind))

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows.

        Raises:
            DataError: the store does not take them.
        """
        self._guarded(lambda: self._writer.write(batch))

    def commit(self) -> int:
        """Give it its name; how many bytes it has.

        Raises:
            DataError: the store does not take it.
        """
        self._guarded(self._publish)
        return int(self._final.info().size)

    def discard(self) -> None:
        """Leave nothing of it."""
        with suppress(OSError):
            self._writer.abandon()
            self._stream.close()
        with suppress(OSError):
            self._draft.files.delete_file(self._draft.path)

    def _open(self, schema: pa.Schema, kind: Format) -> None:
        if self._draft.is_local:
            self._draft.files.create_dir(self._draft.path.rpartition("/")[0], recursive=True)
        self._stream = self._draft.files.open_output_stream(self._draft.path)
        self._writer = WRITERS[kind](self._stream, schema)

    def _publish(self) -> None:
        self._writer.close()
        self._stream.close()
        publish(self._draft, self._final)

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError as cause:
            raise DataError(
                f"{self._final}: cannot be written: {reason(cause)}; nothing is left under that name, and the same "
                "command goes on from here"
            ) from None
