"""Rows of CSV and JSONL files as texts and values: one record at a time, a bad one with the reason why.

Knows the two formats. Knows nothing of columns that anybody wants or of where files lie.
"""

import csv
import io
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import msgspec

from bundle.errors import BadInput

LONGEST_LINE = 64 * 2**20
"""A longer line, or cell, is a mistake: a quote that is never closed, or no table at all."""
ROWS_OF_THE_HEAD = 100
"""Of a JSONL file, whose columns are those that any of them has."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
NEVER_CLOSED = "unexpected end of data"

Record = list[str] | dict[str, Any] | BadInput


def csv_names(stream: io.BufferedReader) -> list[str]:
    """The head of a CSV file.

    Raises:
        ValueError: it is not UTF-8. csv.Error: it is no CSV.
    """
    names: list[str] = next(_reader(stream), [])
    for name in names:
        name.encode()  # a head that is no UTF-8 names nothing
    return names


def csv_records(stream: io.BufferedReader) -> Iterator[Record]:
    """The rows under the head, in cells; empty lines are none.

    Raises:
        csv.Error: a quote that is never closed, behind which no row can be told from another.
    """
    reader = _reader(stream)
    names: list[str] = next(reader, [])
    while True:
        begins = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as cause:
            if NEVER_CLOSED in str(cause) or "field larger" in str(cause):
                raise csv.Error(f"the quote that opens at line {begins} or behind is never closed") from None
            yield BadInput(f"line {reader.line_num} is not CSV: {cause}")
            continue
        if cells is None:
            return
        if len(cells) == len(names):
            yield cells
        elif cells:
            yield BadInput(f"line {begins}: the row has {len(cells)} cells, the head {len(names)}")


def _reader(stream: io.BufferedReader) -> Any:
    csv.field_size_limit(LONGEST_LINE)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    return csv.reader(text, strict=True)


def json_names(stream: io.BufferedReader) -> list[str]:
    """Names that the first rows of a JSONL file have, in order of appearance."""
    first = islice(json_records(stream), ROWS_OF_THE_HEAD)
    return list(dict.fromkeys(name for row in first if isinstance(row, dict) for name in row))


def json_records(stream: io.BufferedReader) -> Iterator[Record]:
    """Objects, one a line; empty lines are none."""
    lines = iter(lambda: stream.readline(LONGEST_LINE), b"")
    first = next(lines, b"").removeprefix(BYTE_ORDER_MARK)
    for line in chain([first], lines):
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            _skip_line(stream)
            yield BadInput(f"the line has more than {LONGEST_LINE} bytes")
        elif not line.isspace() and line:
            yield _object(line)


def _skip_line(stream: io.BufferedReader) -> None:
    while (piece := stream.readline(LONGEST_LINE)) and not piece.endswith(b"\n"):
        pass


def _object(line: bytes) -> Record:
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        return BadInput(f"the line is not JSON: {cause}")
    return row if isinstance(row, dict) else BadInput(f"the line is a JSON {type(row).__name__}, expected an object")
