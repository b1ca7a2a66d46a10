"""Columns of the input that go into the output as they are: their types there, and their values.

Numbers, texts, bytes, dates and truth values stay what they are; all else becomes text, nested values as JSON. Knows
Arrow. Knows nothing of files.
"""

from typing import Any

import msgspec
import pyarrow as pa
from pyarrow import compute, types

from scoring.cells import is_bytes


def kept_type(column: pa.DataType | None) -> pa.DataType:
    """What a column is in the output; None is one whose format has no types."""
    if column is None:
        return pa.string()
    if types.is_dictionary(column):
        return kept_type(column.value_type)
    if types.is_float16(column):
        return pa.float32()
    if types.is_integer(column) or types.is_floating(column) or types.is_boolean(column) or types.is_date(column):
        return column
    return pa.binary() if is_bytes(column) else pa.string()


def kept_values(column: pa.Array) -> list[Any]:
    """A column's values in that type."""
    kind = kept_type(column.type)
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_nested(column.type):
        return [None if value is None else _json(value) for value in column.to_pylist()]
    try:
        values: list[Any] = compute.cast(column, kind).to_pylist()
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):  # durations and the like have no text in Arrow
        values = [None if value is None else str(value) for value in column.to_pylist()]
    return values


def kept_text(value: Any) -> str | None:
    """A value of a format without types."""
    if value is None:
        return None
    if not isinstance(value, str):
        return _json(value)
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _json(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()
