"""One value of a table -> the raw bytes that a bundle's preprocessing reads: pictures, texts, series.

Knows kinds of preprocessing and values. Knows nothing of tables' formats.
"""

import errno
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
from pyarrow import types

from bundle.errors import BadInput, DataError, InputTooLarge
from bundle.preprocess import Limits
from scoring.scorer import Raw
from scoring.store import Place, reason

Reader = Callable[[Any, str], Raw]
"""(value, the file it stands in) -> a raw input, fetched later."""

READ = {
    "image-resize": "the bytes of a picture, its path, or both in one (bytes, path)",
    "text-tokens": "a text",
    "series": "a list of numbers, or their text",
}
"""What a cell may hold, by kind of preprocessing."""
THE_FILES_FAULT = {
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG,
    errno.EINVAL,
}  # fmt: skip
"""Errors that are those of one file; any other is the store's, and says nothing about the file."""


def reader_of(kind: str, where: Place, max_bytes: int = Limits().max_bytes) -> Reader:
    """How values become raw inputs of one kind of preprocessing; paths are looked up in the store of `where`."""
    readers: dict[str, Reader] = {
        "image-resize": partial(_picture, where, max_bytes),
        "text-tokens": _text,
        "series": _series,
    }
    return readers[kind]


def takes(kind: str, column: pa.DataType, alone: bool) -> bool:
    """Whether a typed column may hold inputs of a kind; `alone` when it is not one of several."""
    if types.is_dictionary(column):
        return takes(kind, column.value_type, alone)
    is_number = types.is_integer(column) or types.is_floating(column)
    if not alone:
        return bool(kind == "series" and (is_number or _is_text(column)))
    if _is_text(column) or is_bytes(column) or types.is_null(column):
        return True
    if kind == "series":
        return bool(_is_list(column) and (types.is_integer(column.value_type) or types.is_floating(column.value_type)))
    return bool(
        kind == "image-resize" and types.is_struct(column) and {"bytes", "path"} & {field.name for field in column}
    )


def _is_text(column: pa.DataType) -> bool:
    return bool(types.is_string(column) or types.is_large_string(column) or types.is_string_view(column))


def is_bytes(column: pa.DataType) -> bool:
    """Whether a column holds bytes, in any of Arrow's forms."""
    return bool(
        types.is_binary(column)
        or types.is_large_binary(column)
        or types.is_fixed_size_binary(column)
        or types.is_binary_view(column)
    )


def _is_list(column: pa.DataType) -> bool:
    return bool(types.is_list(column) or types.is_large_list(column) or types.is_fixed_size_list(column))


def _picture(where: Place, max_bytes: int, value: Any, file: str) -> Raw:
    """Bytes, a path, or both in one as data sets of pictures have them."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    match value:
        case bytes():
            return lambda: value
        case str() if value.strip():
            return partial(_read_named, where, max_bytes, value, file)
    return partial(_refuse, value, READ["image-resize"])


def _read_named(where: Place, max_bytes: int, value: str, file: str) -> bytes:
    return read_file(where, _meant(where, value, file), max_bytes)


def _meant(where: Place, value: str, file: str) -> str:
    """The path that a cell means: absolute in its store, or beside the table."""
    scheme, mark, rest = value.partition("://")
    if not mark:
        return value if value.startswith("/") and where.is_local else f"{file.rpartition('/')[0]}/{value.lstrip('/')}"
    if scheme not in ((where.scheme,) if where.scheme else ("file",)):
        here = f"{where.scheme}://" if where.scheme else "a local disk"
        raise BadInput(f"{value}: the table lies on {here}, and only pictures of the same store are read")
    return rest


def read_file(where: Place, path: str, max_bytes: int) -> bytes:
    """The content of one file of the store.

    Raises:
        BadInput: it is not there, or may not be read. InputTooLarge: it has more bytes than that.
        DataError: the store fails, which says nothing about the file.
    """
    try:
        with where.files.open_input_file(path) as stream:
            if (size := stream.size()) > max_bytes:
                raise InputTooLarge(f"{where.url(path)}: the file has {size} bytes; at most {max_bytes} are read")
            content: bytes = stream.read()
            return content
    except (OSError, ValueError, pa.ArrowException) as cause:
        if isinstance(cause, OSError) and not _is_the_files_fault(cause):
            raise DataError(f"{where.url(path)}: the store fails: {reason(cause)}; the same command goes on") from None
        raise BadInput(f"{where.url(path)}: cannot be read: {reason(cause)}") from None


def _is_the_files_fault(cause: OSError) -> bool:
    """Object stores give no numbers, but say what was denied."""
    return cause.errno in THE_FILES_FAULT or (cause.errno is None and "ACCESS_DENIED" in str(cause))


def _text(value: Any, _: str) -> Raw:
    match value:
        case str():
            return partial(value.encode, "utf-8", "surrogateescape")  # what was no UTF-8 is so again, and is refused
        case bytes():
            return lambda: value
    return partial(_refuse, value, READ["text-tokens"])


def _series(value: Any, _: str) -> Raw:
    """Numbers: a list of them, or their text."""
    match value:
        case str():
            return partial(value.encode, "utf-8", "surrogateescape")
        case bytes():
            return lambda: value
        case Sequence():
            return partial(_numbers, value)
    return partial(_refuse, value, READ["series"])


def _numbers(values: Sequence[Any]) -> bytes:
    for i, one in enumerate(values):
        if not isinstance(one, int | float | str) or isinstance(one, bool):
            raise BadInput(f"value {i} is {_brief(one)}, which is not a number")
    return ",".join(map(str, values)).encode("utf-8", "surrogateescape")


def _refuse(value: Any, expected: str) -> bytes:
    raise BadInput(f"the cell is {_brief(value)}; expected {expected}")


def _brief(value: Any) -> str:
    if value is None:
        return "empty (null)"
    shown = str(value)
    return f"{shown[:40]!r}{'...' * (len(shown) > 40)} ({type(value).__name__})"
