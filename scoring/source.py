"""The input of a job: which files, which columns, and rows of raw inputs in an order that never changes.

Either each file is one input (pictures, texts), or files are tables and a column holds the inputs. Knows files,
tables and cells. Knows nothing of models but the kind of their preprocessing.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Protocol

import pyarrow as pa

from bundle.errors import BadInput, DataError
from scoring.cells import read_file, reader_of
from scoring.scorer import Raw
from scoring.store import File, Place, listing
from scoring.tables import Table, Values, format_of

ENDINGS = {
    "image-resize": (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"),
    "text-tokens": (".txt",),
    "series": (".txt",),
}
"""Files that are one input each, by kind of preprocessing."""
USUAL_COLUMNS = {
    "image-resize": ("image", "path", "file", "file_name", "url", "bytes"),
    "text-tokens": ("text", "sentence", "document", "review"),
    "series": ("series", "values", "signal"),
}
"""Columns that are tried in turn where none is named."""


@dataclass(frozen=True)
class Row:
    """One input."""

    source: str
    """The file that holds it, or that it is."""
    number: int
    """In that file, or among all files, from 0."""
    raw: Raw
    kept: tuple[Any, ...] = ()
    """Values of the kept columns."""
    num_bytes: int = 0
    """What it holds in memory already, as far as that is much."""


@dataclass(frozen=True)
class Columns:
    """What is asked for of tables."""

    inputs: tuple[str, ...] = ()
    """The column of the inputs, or several whose numbers make one series; none: the usual names are tried."""
    keep: dict[str, str] = field(default_factory=dict)
    """Columns that go into the output as they are, and what they are called there."""


class Source(Protocol):
    """Files with rows."""

    files: list[str]
    """Names of the files, as outputs tell them; a folder of pictures counts as one."""
    kept: list[pa.Field]
    """Kept columns as the output has them."""
    digest: str
    """sha256 over what makes the input what it is: paths, sizes, times."""
    num_bytes: int

    def rows(self, index: int, start: int) -> Iterator[Row]:
        """Rows of one file from number `start` on."""
        ...

    def num_rows(self) -> int | None:
        """All rows, where that is known without reading everything."""
        ...


class Files:
    """Every file is one input, and all together are one long table of paths."""

    kept: list[pa.Field] = []  # noqa: RUF012 - a file has no columns

    def __init__(self, where: Place, found: list[File]) -> None:
        self.files = [where.given]
        self.digest = digest_of(found)
        self.num_bytes = sum(file.size for file in found)
        self.paths = [file.path for file in found]
        self._where = where

    def rows(self, index: int, start: int) -> Iterator[Row]:
        """See Source."""
        for number in range(start, len(self.paths)):
            path = self.paths[number]
            yield Row(path, number, partial(read_file, self._where, path))

    def num_rows(self) -> int | None:
        """See Source."""
        return len(self.paths)


class Tables:
    """Files of rows, all with the same columns."""

    def __init__(self, where: Place, found: list[File], kind: str, columns: Columns) -> None:
        self.files = [file.path for file in found]
        self.digest = digest_of(found)
        self.num_bytes = sum(file.size for file in found)
        self._tables = [Table(where, file) for file in found]
        self._read = reader_of(kind, where)
        self._keep = columns.keep
        there = self._tables[0].columns
        self._inputs = columns.inputs or (usual_column(kind, there, found[0].path),)
        for table in self._tables:
            _check_columns(table, table.columns if table is not self._tables[0] else there,
                           (*self._inputs, *columns.keep), there)  # fmt: skip
        self.kept = [pa.field(name, _kept_type(there[old])) for old, name in columns.keep.items()]

    def rows(self, index: int, start: int) -> Iterator[Row]:
        """See Source."""
        wanted = [*self._inputs, *self._keep]
        path = self.files[index]
        for i, values in enumerate(self._tables[index].rows(start, wanted)):
            yield self._row(path, start + i, values)

    def _row(self, path: str, number: int, values: Values) -> Row:
        if isinstance(values, BadInput):
            return Row(path, number, partial(_raise, values), (None,) * len(self._keep))
        cells = [values.get(name) for name in self._inputs]
        raw = self._read(cells[0] if len(cells) == 1 else cells, path)
        held = sum(len(cell) for cell in cells if isinstance(cell, bytes | str))
        return Row(path, number, raw, tuple(map(_kept, map(values.get, self._keep), self.kept)), held)

    def num_rows(self) -> int | None:
        """See Source."""
        counts = [table.num_rows() for table in self._tables]
        return None if None in counts else sum(count for count in counts if count is not None)


def open_source(where: Place, kind: str, columns: Columns) -> Source:
    """Find out what lies at a place, and how it is read for one kind of preprocessing.

    Raises:
        DataError: nothing, nothing that is read, several formats, or not the columns that are needed.
    """
    found = listing(where)
    tables = [file for file in found if format_of(file.path)]
    single = [file for file in found if file.path.lower().endswith(ENDINGS[kind])]
    if tables and (columns.inputs or not single):
        formats = {format_of(file.path) for file in tables}
        if len(formats) > 1:
            raise DataError(f"{where.given}: files of several formats ({', '.join(sorted(map(str, formats)))}); "
                            "name those of one with a pattern, as 'folder/*.csv'")  # fmt: skip
        return Tables(where, tables, kind, columns)
    if not single:
        endings = sorted({f".{file.path.rpartition('.')[2]}" if "." in file.path else "none" for file in found})
        raise DataError(
            f"{where.given}: none of its {len(found)} files is read for this model: {', '.join(ENDINGS[kind])}, or "
            f"tables (.parquet, .csv, .jsonl, also .gz and .zst); their endings are {', '.join(endings[:8])}"
        )
    if columns.inputs or columns.keep:
        raise DataError(f"{where.given}: columns are named, and these are single files; tables have columns")
    return Files(where, single)


def digest_of(files: Sequence[File]) -> str:
    """sha256 over the listing."""
    lines = "".join(f"{file.path}\t{file.size}\t{file.stamp}\n" for file in files)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def usual_column(kind: str, there: dict[str, str], path: str) -> str:
    """The column that surely holds the inputs.

    Raises:
        DataError: there is none, or more than one could be meant.
    """
    usual = [name for name in USUAL_COLUMNS[kind] if name in there]
    if usual or len(there) == 1:
        return (usual or list(there))[0]
    raise DataError(f"{path}: which column holds the inputs? It has {_brief(there)}; name it with --column")


def _check_columns(table: Table, there: dict[str, str], wanted: Sequence[str], first: dict[str, str]) -> None:
    missing = [name for name in wanted if name not in there]
    if missing:
        raise DataError(f"{table.file.path}: no column '{missing[0]}'; it has {_brief(there)}")
    unlike = [name for name in wanted if there[name] != first[name]]
    if unlike:
        raise DataError(
            f"{table.file.path}: column '{unlike[0]}' is {there[unlike[0]]}, and {first[unlike[0]]} in the first file"
        )


def _brief(there: dict[str, str]) -> str:
    shown = [f"'{name}' ({kind})" for name, kind in islice(there.items(), 12)]
    return ", ".join(shown) + (f" and {len(there) - 12} more" if len(there) > 12 else "") if shown else "no columns"


def _kept_type(kind: str) -> pa.DataType:
    """Numbers stay numbers where a table says so; whatever else is text."""
    known = {
        "int64": pa.int64(),
        "int32": pa.int32(),
        "double": pa.float64(),
        "float": pa.float32(),
        "bool": pa.bool_(),
    }
    return known.get(kind, pa.string())


def _kept(value: Any, column: pa.Field) -> Any:
    """A value as its column has it; what is no UTF-8 in a text is replaced."""
    if value is None or not pa.types.is_string(column.type):
        return value
    return str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _raise(cause: BadInput) -> bytes:
    raise cause
