"""The input of a job: which files, which columns, and rows of raw inputs in an order that never changes.

Either each file is one input (pictures, texts), or files are tables and a column holds the inputs. Knows files,
tables and cells. Knows nothing of models but the kind of their preprocessing.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Protocol

import msgspec
import pyarrow as pa

from bundle.errors import BadInput, DataError
from bundle.preprocess import Limits
from scoring.cells import READ, read_file, reader_of, takes
from scoring.kept import kept_type
from scoring.listing import File, check_seen, listing, witnesses
from scoring.scorer import Raw
from scoring.store import Place
from scoring.tables import Head, Table, Values, format_of

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
HEADS_AT_ONCE = 16
"""Files whose heads are read at the same time: a store answers late, but many."""


class Row(msgspec.Struct, frozen=True, gc=False):
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
    about: str
    """For people: how many files, and which are left out."""
    num_rows: int | None
    """All rows, where that is known without reading everything."""

    in_place: bool
    """Whether rows from any number on are reached without reading those before them."""

    def rows(self, index: int, start: int) -> Iterator[Row]:
        """Rows of one file from number `start` on."""
        ...

    def count(self, index: int, at_most: int | None) -> int:
        """Rows of one file; where its format does not tell, it is read for that, up to so many rows."""
        ...

    def check_seen(self) -> None:
        """Whether this machine sees the files that were listed, perhaps on another one.

        Raises:
            DataError: which one it does not see.
        """
        ...


class Files:
    """Every file is one input, and all together are one long table of paths."""

    kept: list[pa.Field] = []  # noqa: RUF012 - a file has no columns
    in_place = True

    def __init__(self, where: Place, found: list[File], about: str) -> None:
        self.files = [str(where)]
        self.digest = digest_of(found)
        self.about = about
        self.num_rows: int | None = len(found)
        self._paths = [file.path for file in found]
        self._where = where
        self._witnesses = witnesses(found)

    def count(self, index: int, at_most: int | None) -> int:
        """See Source."""
        return len(self._paths)

    def check_seen(self) -> None:
        """See Source."""
        check_seen(self._where, self._witnesses)

    def rows(self, index: int, start: int) -> Iterator[Row]:
        """See Source."""
        for number, path in enumerate(islice(self._paths, start, None), start):
            yield Row(self._where.url(path), number, partial(read_file, self._where, path, Limits().max_bytes))


class Tables:
    """Files of rows, all with the same columns."""

    def __init__(self, where: Place, found: list[File], kind: str, columns: Columns, about: str) -> None:
        self._tables = [Table(where, file) for file in found]
        self.files = list(map(str, self._tables))
        self.digest = digest_of(found)
        self.about = about
        self._where, self._witnesses = where, witnesses(found)
        self._read = reader_of(kind, where)
        self._keep = tuple(columns.keep)
        with ThreadPoolExecutor(HEADS_AT_ONCE) as pool:
            heads = list(pool.map(Table.head, self._tables))
        first = next((i for i, head in enumerate(heads) if head.columns), 0)
        self._inputs = columns.inputs or (usual_column(kind, heads[first], self.files[first]),)
        for table, head in zip(self._tables, heads, strict=True):
            if head.columns:  # a file without a byte has no rows either
                _check_columns(table, head, kind, self._inputs, self._keep, heads[first])
        self.kept = [pa.field(name, kept_type(heads[first].columns.get(old))) for old, name in columns.keep.items()]
        self._counts = [head.num_rows for head in heads]
        counts = [one for one in self._counts if one is not None]
        self.num_rows = sum(counts) if len(counts) == len(heads) else None
        self.in_place = self.num_rows is not None

    def rows(self, index: int, start: int) -> Iterator[Row]:
        """See Source."""
        table, source = self._tables[index], self.files[index]
        for number, values in enumerate(table.rows(start, self._inputs, self._keep), start):
            yield self._row(source, table.file.path, number, values)

    def count(self, index: int, at_most: int | None) -> int:
        """See Source."""
        told = self._counts[index]
        if told is not None:
            return told
        return sum(1 for _ in islice(self._tables[index].rows(0, self._inputs, ()), at_most))

    def check_seen(self) -> None:
        """See Source."""
        check_seen(self._where, self._witnesses)

    def _row(self, source: str, path: str, number: int, values: Values) -> Row:
        if isinstance(values, BadInput):
            return Row(source, number, partial(_raise, values), (None,) * len(self._keep))
        cells = values.inputs
        raw = self._read(cells[0] if len(cells) == 1 else cells, path)
        return Row(source, number, raw, values.kept, sum(map(_num_bytes, (*cells, *values.kept))))


def open_source(where: Place, kind: str, columns: Columns) -> Source:
    """Find out what lies at a place, and how it is read for one kind of preprocessing.

    Raises:
        DataError: nothing, nothing that is read, several formats, or not the columns that are needed.
    """
    found = listing(where)
    tables = [file for file in found if format_of(file.path) and not file.is_aside]
    single = [file for file in found if file.path.lower().endswith(ENDINGS[kind])]
    if tables and (columns.inputs or columns.keep or not single):
        formats = {format_of(file.path) for file in tables}
        if len(formats) > 1:
            raise DataError(f"{where}: files of several formats ({', '.join(sorted(map(str, formats)))}); "
                            "name those of one with a pattern, as 'folder/*.csv'")  # fmt: skip
        return Tables(where, tables, kind, columns, _about(tables, found))
    if not single:
        raise DataError(
            f"{where}: none of its {len(found)} files is read for this model: {', '.join(ENDINGS[kind])}, or "
            f"tables (.parquet, .csv, .jsonl, the last two also with .gz or .zst); it has {_endings(found)}"
        )
    if columns.inputs or columns.keep:
        raise DataError(f"{where}: columns are named, and these are single files; tables have columns")
    return Files(where, single, _about(single, found))


def digest_of(files: Sequence[File]) -> str:
    """sha256 over the listing."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.path}\t{file.size}\t{file.stamp}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def usual_column(kind: str, head: Head, path: str) -> str:
    """The column that surely holds the inputs.

    Raises:
        DataError: there is none, or more than one could be meant.
    """
    usual = [name for name in USUAL_COLUMNS[kind] if name in head.columns]
    if usual or len(head.columns) <= 1:
        return (usual or [*head.columns, USUAL_COLUMNS[kind][0]])[0]
    raise DataError(f"{path}: which column holds the inputs? It has {_brief(head)}; name it with --column")


def _check_columns(
    table: Table, head: Head, kind: str, inputs: Sequence[str], keep: Sequence[str], first: Head
) -> None:
    for name in (*inputs, *keep):
        if name not in head.columns:
            raise DataError(f"{table}: no column '{name}'; it has {_brief(head)}")
        if name in head.twice:
            raise DataError(f"{table}: more than one column is called '{name}'; it has {_brief(head)}")
    for name in inputs:
        column = head.columns[name]
        if column is not None and not takes(kind, column, alone=len(inputs) == 1):
            several = f"; {len(inputs)} columns together are one series of numbers" if len(inputs) > 1 else ""
            raise DataError(f"{table}: column '{name}' is {column}; this model reads {READ[kind]}{several}")
        _check_same(table, name, str(column), str(first.columns.get(name)))
    if len(inputs) > 1 and kind != "series":
        raise DataError(f"{table}: {len(inputs)} input columns are named; this model reads {READ[kind]}, from one")
    for name in keep:
        _check_same(table, name, str(kept_type(head.columns[name])), str(kept_type(first.columns.get(name))))


def _check_same(table: Table, name: str, mine: str, firsts: str) -> None:
    if mine != firsts:
        raise DataError(f"{table}: column '{name}' is {mine}, and {firsts} in the first file: one schema for all, "
                        "please, or one job for each")  # fmt: skip


def _about(chosen: list[File], found: list[File]) -> str:
    others = len(found) - len(chosen)
    size = f"{len(chosen)} file{'s' * (len(chosen) != 1)}, {sum(file.size for file in chosen) / 1e6:.1f} MB"
    taken = {file.path for file in chosen} if others else set()
    rest = [file for file in found if file.path not in taken] if others else []
    return f"{size}; {others} more are not read: {_endings(rest)}" if others else size


def _endings(files: Sequence[File]) -> str:
    """Which endings there are, the most frequent first."""
    names = (file.path.rpartition("/")[2] for file in files)
    counts = Counter(f".{name.rpartition('.')[2]}" if "." in name else "no ending" for name in names)
    shown = ", ".join(f"{ending} ({number})" for ending, number in counts.most_common(8))
    return f"{shown} and others" if len(counts) > 8 else shown


def _brief(head: Head) -> str:
    shown = [f"'{name}'{f' ({kind})' if kind else ''}" for name, kind in islice(head.columns.items(), 12)]
    more = len(head.columns) - 12
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "") if shown else "no columns"


def _num_bytes(value: Any) -> int:
    """What a cell holds, roughly."""
    match value:
        case bytes() | str():
            return len(value)
        case list():
            return 32 * len(value)
        case dict():
            return sum(map(_num_bytes, value.values()))
    return 0


def _raise(cause: BadInput) -> bytes:
    raise cause
