"""One value of a table -> the raw bytes that a bundle's preprocessing reads: pictures, texts, series.

Knows kinds of preprocessing and values. Knows nothing of tables' formats.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from bundle.errors import BadInput
from scoring.scorer import Raw
from scoring.store import Place

Reader = Callable[[Any, str], Raw]
"""(value, the file it stands in) -> a raw input, fetched later."""


def reader_of(kind: str, where: Place) -> Reader:
    """How values become raw inputs of one kind of preprocessing; paths are looked up in the store of `where`."""
    readers: dict[str, Reader] = {"image-resize": partial(_picture, where), "text-tokens": _text, "series": _series}
    return readers[kind]


def _picture(where: Place, value: Any, file: str) -> Raw:
    """Bytes, a path, or both in one as data sets of pictures have them."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    match value:
        case bytes():
            return lambda: value
        case str() if value.strip():
            return partial(read_file, where, _beside(file, value))
    return partial(_refuse, value, "the bytes of a picture, or its path")


def _beside(file: str, path: str) -> str:
    """A path as a table means it: absolute in its store, or beside the table."""
    _, scheme, rest = path.partition("://")
    if scheme:
        return rest
    return path if path.startswith("/") else f"{file.rpartition('/')[0]}/{path}"


def read_file(where: Place, path: str) -> bytes:
    """The content of one file of the store.

    Raises:
        BadInput: it cannot be read.
    """
    try:
        with where.files.open_input_stream(path) as stream:
            content: bytes = stream.read()
            return content
    except (OSError, ValueError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else cause
        raise BadInput(f"{path}: cannot be read: {reason}") from None


def _text(value: Any, _: str) -> Raw:
    match value:
        case str():
            return partial(value.encode, "utf-8", "surrogateescape")  # what was no UTF-8 is so again, and is refused
        case bytes():
            return lambda: value
    return partial(_refuse, value, "a text")


def _series(value: Any, _: str) -> Raw:
    """Numbers: a list of them, or their text."""
    match value:
        case str():
            return value.encode
        case bytes():
            return lambda: value
        case Sequence():
            return partial(_numbers, value)
    return partial(_refuse, value, "a list of numbers, or their text")


def _numbers(values: Sequence[Any]) -> bytes:
    for i, one in enumerate(values):
        if not isinstance(one, int | float | str) or isinstance(one, bool):
            raise BadInput(f"value {i} is {one!r}, which is not a number")
    return ",".join(map(str, values)).encode()


def _refuse(value: Any, expected: str) -> bytes:
    given = "empty (null)" if value is None else f"{str(value)[:40]!r} ({type(value).__name__})"
    raise BadInput(f"the cell is {given}; expected {expected}")
