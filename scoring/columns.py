"""Answers as Arrow columns: a schema from the task's result type, and rows of it.

The schema follows from the type alone, so a shard of nothing but bad inputs has the same columns as any other. Knows
result types and Arrow. Knows nothing of tasks one by one.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import inspect

from bundle.errors import BadInput
from bundle.manifest import Manifest
from scoring.scorer import Scored

PLAIN: dict[type, pa.DataType] = {
    inspect.StrType: pa.string(),
    inspect.FloatType: pa.float64(),
    inspect.IntType: pa.int64(),
    inspect.BoolType: pa.bool_(),
}
IN_COLUMNS, IN_FILES = pa.binary(), pa.string()
"""How the pictures of an answer are kept: themselves, or their paths."""
ABOUT = ("error", "model", "version", "digest")
"""Columns of every row, after the answer's."""
WHERE = ("source", "row")
"""Columns of every row, before all others: the file, and the number of the row in it (from 0)."""


Save = Callable[[int, str, bytes], str]
"""(row, column, a picture of an answer) -> the path where it was put."""


def answer_fields(result_type: type[msgspec.Struct], pictures: pa.DataType) -> list[pa.Field]:
    """One column for each field of an answer; `pictures` is how bytes in it (masks, maps) are kept."""
    info = inspect.type_info(result_type)
    if not isinstance(info, inspect.StructType):
        raise TypeError(f"{result_type} is no struct")
    return [pa.field(field.encode_name, _arrow(field.type, pictures)) for field in info.fields]


def _arrow(kind: inspect.Type, pictures: pa.DataType) -> pa.DataType:
    match kind:
        case inspect.StructType(fields=fields):
            return pa.struct([pa.field(field.encode_name, _arrow(field.type, pictures)) for field in fields])
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            return pa.list_(_arrow(item, pictures))
        case inspect.TupleType(item_types=items):
            return pa.list_(_arrow(items[0], pictures))
        case inspect.UnionType(types=types):
            return _arrow(next(one for one in types if not isinstance(one, inspect.NoneType)), pictures)
        case inspect.BytesType():
            return pictures
    return PLAIN[type(kind)]


def schema(
    result_type: type[msgspec.Struct], kept: Sequence[pa.Field], pictures: pa.DataType = IN_COLUMNS
) -> pa.Schema:
    """All columns of an output: where, what was kept of the input, the answer, and about it.

    Raises:
        BadInput: a kept column has the name of another one.
    """
    answer = answer_fields(result_type, pictures)
    taken = {*WHERE, *ABOUT, *(field.name for field in answer)}
    for field in kept:
        if field.name in taken or [one.name for one in kept].count(field.name) > 1:
            raise BadInput(f"two columns of the output would be '{field.name}'; keep yours under another name: "
                           f"--keep {field.name}=my_{field.name}")  # fmt: skip
    where = [pa.field("source", pa.string()), pa.field("row", pa.int64())]
    about = [pa.field("error", pa.string()), pa.field("model", pa.string())]
    return pa.schema([*where, *kept, *answer, *about, pa.field("version", pa.int64()), pa.field("digest", pa.string())])


@dataclass(frozen=True)
class Rows:
    """Rows, scored."""

    sources: list[str]
    numbers: list[int]
    kept: dict[str, list[Any]]
    scored: list[Scored]


def table_of(schema: pa.Schema, manifest: Manifest, rows: Rows, save: Save | None = None) -> pa.RecordBatch:
    """Rows in the form of the schema; where there is no answer, its columns are null."""
    size = len(rows.scored)
    columns: dict[str, Any] = {"source": list(map(_printable, rows.sources)), "row": rows.numbers, **rows.kept}
    answers = [_builtins(one, number, save) for one, number in zip(rows.scored, rows.numbers, strict=True)]
    for name in schema.names:
        if name not in {*WHERE, *ABOUT, *rows.kept}:
            columns[name] = [answer.get(name) for answer in answers]
    columns["error"] = [_printable(one.error) or None for one in rows.scored]
    columns["model"] = [manifest.name] * size
    columns["version"] = [manifest.version] * size
    columns["digest"] = [manifest.digest] * size
    return pa.RecordBatch.from_arrays([pa.array(columns[field.name], field.type) for field in schema], schema=schema)


def _printable(text: str) -> str:
    """The same where it is UTF-8; a name of a file, or a part of a cell, may be anything."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _builtins(scored: Scored, number: int, save: Save | None) -> dict[str, Any]:
    if scored.answer is None:
        return {}
    answer: dict[str, Any] = msgspec.to_builtins(scored.answer, builtin_types=(bytes,))
    return _saved(answer, number, save) if save else answer


def _saved(answer: dict[str, Any], number: int, save: Save) -> dict[str, Any]:
    """The same with pictures put into files, and their paths in their places."""
    return {name: _put(value, number, name, save) for name, value in answer.items()}


def _put(value: Any, number: int, name: str, save: Save) -> Any:
    match value:
        case bytes():
            return save(number, name, value)
        case dict():
            return {key: _put(one, number, f"{name}.{key}", save) for key, one in value.items()}
        case list() | tuple():
            return [_put(one, number, f"{name}.{i}", save) for i, one in enumerate(value)]
    return value


def plain(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows as JSON has them: bytes in base64."""
    return [_plain(row) for row in batch.to_pylist()]


def _plain(value: Any) -> Any:
    match value:
        case bytes():
            return base64.b64encode(value).decode("ascii")
        case dict():
            return {key: _plain(one) for key, one in value.items()}
        case list():
            return [_plain(one) for one in value]
    return value
