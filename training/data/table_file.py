"""A table in a text file -> its records, each with the line that it begins at: CSV, TSV, or JSON Lines.

Encodings and quoting are found out in a stated order, and what cannot be read is named by line and byte. Knows files
and formats. Knows nothing of what the columns mean.
"""

import codecs
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundle.errors import DataError

MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
"""Byte order marks; a file that begins with one says what it is."""
WITHOUT_MARK = ("utf-8", "cp949")
"""Tried in this order. CP949 is what Korean Windows programs write; text in UTF-8 is hardly ever valid CP949 by chance,
but CP949 takes many bytes that were meant otherwise, so it comes last."""
DELIMITERS = {".csv": ",;\t|", ".tsv": "\t"}
"""By suffix, what may stand between columns: the first one whose header names the wanted columns."""
JSON_LINES = (".jsonl", ".ndjson")
MIN_ZEROS = 4  # bytes; two names, a delimiter and a line break have as many
MAX_FIELD_CHARS = 2**24  # csv's own limit of 131,072 would refuse a long document


@dataclass(frozen=True)
class Record:
    """One row; values by column, text as it stands (JSON values as they are)."""

    line: int
    values: dict[str, Any]


def read_records(path: Path, wanted: tuple[str, ...]) -> list[Record]:
    """All rows of a file that has at least the wanted columns; rows without any content are left out.

    Raises:
        DataError: not readable, no known suffix or encoding, wanted columns missing, or a row that does not fit the
            header; the message names file and line.
    """
    text = _decode(path)
    suffix = path.suffix.lower()
    if suffix in JSON_LINES:
        records = list(_from_json_lines(path, text))
    elif suffix in DELIMITERS:
        records = _from_columns(path, text, DELIMITERS[suffix], wanted)
    else:
        known = ", ".join([*DELIMITERS, *JSON_LINES])
        raise DataError(f"{path}: the name says nothing of the format; expected one that ends in {known}")
    if not records:
        raise DataError(f"{path}: holds no rows")
    return records


def _decode(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as cause:
        raise DataError(f"{path}: cannot be read: {cause.strerror}") from None
    marked = next((encoding for mark, encoding in MARKS.items() if raw.startswith(mark)), None)
    failures = []
    for encoding in (marked,) if marked else (*_guess_utf_16(raw), *WITHOUT_MARK):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError as cause:
            failures.append(_failure(raw, cause, encoding))
        else:
            return _without_nul(path, text)
    raise DataError(f"{path}: the encoding is not known: {'; '.join(failures)}; save the file as UTF-8")


def _guess_utf_16(raw: bytes) -> tuple[str, ...]:
    """UTF-16 without a mark: of its ASCII part, a header at least, every second byte is zero."""
    even, odd = raw[0:4096:2].count(0), raw[1:4096:2].count(0)
    if max(even, odd) < MIN_ZEROS or max(even, odd) < 4 * min(even, odd):
        return ()
    return ("utf-16-be",) if even > odd else ("utf-16-le",)


def _failure(raw: bytes, cause: UnicodeDecodeError, encoding: str) -> str:
    line = raw.count(b"\n", 0, cause.start) + 1
    return f"not {encoding.upper()} (line {line}, byte {cause.start}: 0x{raw[cause.start]:02x}, {cause.reason})"


def _without_nul(path: Path, text: str) -> str:
    at = text.find("\0")
    if at >= 0:
        raise DataError(f"{path}, line {text.count(chr(10), 0, at) + 1}: holds a zero character; this is no text file")
    return text


def _from_json_lines(path: Path, text: str) -> Iterator[Record]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as cause:
            raise DataError(f"{path}, line {number}: not JSON: {cause}; expected one object a line") from None
        if not isinstance(values, dict):
            raise DataError(f"{path}, line {number}: a JSON {type(values).__name__}; expected an object")
        yield Record(number, values)


def _from_columns(path: Path, text: str, delimiters: str, wanted: tuple[str, ...]) -> list[Record]:
    delimiter = _delimiter(text, delimiters, wanted)
    # Tab-separated files often hold bare quotes, as NSMC does; in CSV a comma inside a text needs the quoting.
    quoting = csv.QUOTE_NONE if delimiter == "\t" and _has_bare_quotes(text) else csv.QUOTE_MINIMAL
    rows = _rows(path, text, delimiter, quoting)
    header = [name.strip() for name in next(rows, (1, []))[1]]
    _check_header(path, header, wanted)
    records = []
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(
                f"{path}, line {line}: {len(row)} columns, the header has {len(header)} ({', '.join(header)}); "
                'a text that holds the delimiter, a quote or a line break stands in quotes, and a quote in it twice: ""'
            )
        records.append(Record(line, dict(zip(header, row, strict=True))))
    return records


def _delimiter(text: str, delimiters: str, wanted: tuple[str, ...]) -> str:
    """The first delimiter by which the header names the wanted columns; else the usual one, for the message."""
    first_line = text.partition("\n")[0].rstrip("\r")

    def names(delimiter: str) -> set[str]:
        return {name.strip().strip('"') for name in first_line.split(delimiter)}

    return next((one for one in delimiters if set(wanted) <= names(one)), delimiters[0])


def _has_bare_quotes(text: str) -> bool:
    """Whether some field begins or ends with a quote, but not both."""
    return any(
        field.startswith('"') != field.endswith('"') or field == '"'
        for line in text.split("\n")
        if '"' in line
        for field in line.rstrip("\r").split("\t")
    )


def _rows(path: Path, text: str, delimiter: str, quoting: Any) -> Iterator[tuple[int, list[str]]]:
    """Rows with their first line; those of nothing but blanks are left out."""
    csv.field_size_limit(MAX_FIELD_CHARS)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as cause:
            raise DataError(
                f"{path}, line {line}: {cause}: the quotes do not fit; "
                'a text in quotes begins and ends with one, and a quote in it stands twice: ""'
            ) from None
        if any(field.strip() for field in row):
            yield line, row


def _check_header(path: Path, header: list[str], wanted: tuple[str, ...]) -> None:
    missing = [name for name in wanted if name not in header]
    if missing:
        raise DataError(f"{path}: no column {_quoted(missing)}; its header has {_quoted(header)}")
    twice = [name for name in wanted if header.count(name) > 1]
    if twice:
        raise DataError(f"{path}: more than one column {_quoted(twice)}; its header has {_quoted(header)}")


def _quoted(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "nothing"
