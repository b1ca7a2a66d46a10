"""The body of an infer request -> its tensors: JSON, binary tensors behind it, or both in one request.

A binary tensor stays where it lies in the body, and everything is checked against its shape before any element is
looked at: a tensor of any size costs the same until it is read. Knows JSON and bytes. Knows nothing of models or HTTP.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from bundle.errors import BadInput
from bundle.tensors import Array
from serving.oip.datatypes import (
    MAX_BYTES,
    Buffer,
    Datatype,
    array_from_bytes,
    count_bytes,
    count_elements,
    datatype_of,
    elements_array,
)
from serving.oip.parameters import (
    NO_WISHES,
    OutputWish,
    Wishes,
    check_unique,
    read_binary_size,
    read_output_wish,
    read_wishes,
    refuse_shared_memory,
)

HEADER = "Inference-Header-Content-Length"
MAX_TENSORS = 256
"""Inputs or outputs that one request names."""
MAX_NESTING = 32
"""Brackets around an element; numpy has no more dimensions than twice that."""
OPENING = re.compile(rb"[ \t\r\n\[]*")

Value = bool | int | float | str


class InputDocument(msgspec.Struct, frozen=True):
    """One input, as JSON has it."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Value] | None = None
    data: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)

    @property
    def has_data(self) -> bool:
        """Whether its data are in the JSON."""
        view = memoryview(self.data)
        return len(view) > len(b"null") or bytes(view) not in (b"", b"null")


class OutputDocument(msgspec.Struct, frozen=True):
    """One output that is asked for."""

    name: str
    parameters: dict[str, Value] | None = None


class InferDocument(msgspec.Struct, frozen=True):
    """The JSON of a request; keys that nobody knows are left alone."""

    inputs: list[InputDocument]
    id: str | None = None
    parameters: dict[str, Value] | None = None
    outputs: list[OutputDocument] | None = None


DOCUMENT = msgspec.json.Decoder(InferDocument)


@dataclass(frozen=True, slots=True)
class SentTensor:
    """An input as it was sent: exactly one of `raw`, `text` and `values` holds its data."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    raw: Buffer | None = None
    """As it lies in the body."""
    text: Buffer | None = None
    """As JSON."""
    values: Array | None = None
    """As somebody has read it already."""

    def read(self) -> Array:
        """The tensor; of `raw` a view where that can be, for BYTES an array of `bytes` objects.

        Raises:
            BadInput: the data are not what datatype and shape say.
        """
        try:
            if self.values is not None:
                return self.values
            if self.raw is not None:
                return array_from_bytes(self.datatype, self.shape, self.raw)
            return array_from_json(self.datatype, self.shape, self.text or b"")
        except BadInput as cause:
            raise type(cause)(f"input '{self.name}': {cause}") from None


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request, whatever it came in."""

    inputs: list[SentTensor]
    outputs: list[OutputWish] | None = None
    """None: all."""
    id: str = ""
    wishes: Wishes = NO_WISHES


def json_size(header: str | None, body_size: int) -> int:
    """How many bytes at the start of a body are JSON, by its header; all where there is no header.

    Raises:
        BadInput: the header is no number, or more than the body has.
    """
    if header is None:
        return body_size
    if not (header.isascii() and header.isdigit() and len(header) <= 10 and int(header) <= MAX_BYTES):
        raise BadInput(f"{HEADER} is '{header:.40}'; it must be the number of JSON bytes before the binary tensors")
    if int(header) > body_size:
        raise BadInput(f"{HEADER} is {header}, but the whole body has {body_size} bytes")
    return int(header)


def parse(body: Buffer, size: int) -> InferRequest:
    """Read a request whose first `size` bytes are JSON and whose other bytes are tensors.

    Raises:
        BadInput: the body is not such a request. Unsupported: it needs what is not done here.
    """
    view = memoryview(body)
    document = _document(view[:size])
    if not document.inputs:
        raise BadInput("the request holds no inputs; send at least one")
    if max(len(document.inputs), len(document.outputs or ())) > MAX_TENSORS:
        raise BadInput(f"the request names more than {MAX_TENSORS} inputs or outputs")
    check_unique("input", [one.name for one in document.inputs])
    wishes = read_wishes(document.parameters)
    return InferRequest(_inputs(document.inputs, view[size:]), _outputs(document), document.id or "", wishes)


def _document(text: memoryview) -> InferDocument:
    try:
        return DOCUMENT.decode(text)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as cause:
        hint = ""
        if not text:
            hint = " (it is empty)"
        elif re.search(rb"\b(NaN|Infinity)\b", text):
            hint = " (JSON has no NaN and no Infinity: send such tensors as binary)"
        raise BadInput(f"the JSON of the request cannot be read{hint}: {_reason(cause)}") from None


def _outputs(document: InferDocument) -> list[OutputWish] | None:
    if not document.outputs:
        return None
    check_unique("output", [one.name for one in document.outputs])
    return [read_output_wish(one.name, one.parameters) for one in document.outputs]


def _inputs(documents: list[InputDocument], rest: memoryview) -> list[SentTensor]:
    """Give each input its data, in order; what is left over at the end is an error."""
    has_binary, tensors = len(rest) > 0, []
    for i, one in enumerate(documents):
        refuse_shared_memory(f"input '{one.name:.100}'", one.parameters)
        try:
            datatype, shape = datatype_of(one.datatype), tuple(one.shape)
            implied = count_bytes(datatype, shape)
            size = read_binary_size(one.parameters)
            if one.has_data and size is None:
                _check_json(datatype)
                tensors.append(SentTensor(one.name, datatype, shape, text=bytes(one.data)))
                continue
            is_last = all(later.has_data for later in documents[i + 1 :]) if size is None else False
            size = _binary_size(one, size, implied, rest, has_binary, is_last)
        except BadInput as cause:
            raise type(cause)(f"input '{one.name:.100}': {cause}") from None
        tensors.append(SentTensor(one.name, datatype, shape, raw=rest[:size]))
        rest = rest[size:]
    if len(rest):
        raise BadInput(f"unexpected additional input data: {len(rest)} bytes after the last binary tensor")
    return tensors


def _check_json(datatype: Datatype) -> None:
    if not datatype.in_json:
        raise BadInput(f"{datatype.name} has no form in JSON; please use the binary data format for it")


def _binary_size(
    one: InputDocument, stated: int | None, implied: int | None, rest: memoryview, has_binary: bool, is_last: bool
) -> int:
    """How many bytes of the rest are this input's: as stated, as its shape implies, or, at the end, all."""
    if one.has_data:
        raise BadInput("it has 'data' and 'binary_data_size'; its data lie in one place")
    size = stated if stated is not None else implied if implied is not None else len(rest) if is_last else None
    if size is None:
        raise BadInput("its size is not known: several inputs follow the JSON, so give BYTES a 'binary_data_size'")
    if stated is None and not has_binary and size:
        raise BadInput("it has neither 'data' nor 'binary_data_size'")
    if implied is not None and size != implied:
        raise BadInput(f"binary_data_size is {size}, but shape {one.shape} of {one.datatype} takes {implied} bytes")
    if size > len(rest):
        hint = "" if has_binary else f"; there is no binary data in the body: is the header {HEADER} missing?"
        raise BadInput(f"it takes {size} bytes of binary data; {len(rest)} are left in the body{hint}")
    return size


def array_from_json(datatype: Datatype, shape: tuple[int, ...], text: Buffer) -> Array:
    """The tensor of JSON data, nested as its shape is, or flat.

    Raises:
        BadInput: values of another kind or out of range, or not as many as the shape holds.
    """
    count, depth = count_elements(shape), _depth(text)
    # In arrays of numbers every value but the first has a comma before it: counted before anything is made of them.
    if datatype.wire is not None and bytes(text).count(b",") >= max(count, 1):
        raise BadInput(f"data hold more values than the {count} of shape {list(shape)}")
    try:
        nested = _decoder(_kind(datatype), depth).decode(text)
        array = _array(datatype, nested, depth)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as cause:
        raise BadInput(f"data are no {datatype.name} values nested alike: {_reason(cause)}") from None
    if array.size != count:
        raise BadInput(f"data hold {array.size} values; shape {list(shape)} holds {count}")
    if datatype.wire is not None and count and depth == len(shape) > 1 and array.shape != shape:
        raise BadInput(
            f"data are nested as {list(array.shape)}, shape is {list(shape)}; nest them alike, or not at all"
        )
    return array.reshape(shape)


def _depth(text: Buffer) -> int:
    opening = OPENING.match(text)
    depth = opening[0].count(b"[") if opening else 0
    if not 1 <= depth <= MAX_NESTING:
        raise BadInput(f"data are nested {depth} deep; they must be an array, nested at most {MAX_NESTING} deep")
    return depth


def _kind(datatype: Datatype) -> type:
    if datatype.wire is None:
        return str
    return {"b": bool, "i": int, "u": int, "f": float}[datatype.wire.kind]


@lru_cache(maxsize=256)
def _decoder(kind: type, depth: int) -> msgspec.json.Decoder[Any]:
    nested: Any = kind
    for _ in range(depth):
        nested = list[nested]
    return msgspec.json.Decoder(nested)


def _array(datatype: Datatype, nested: list[Any], depth: int) -> Array:
    if datatype.wire is None:
        for _ in range(depth - 1):
            nested = [one for inner in nested for one in inner]
        return elements_array([one.encode() for one in nested], (len(nested),))
    with np.errstate(over="ignore"):
        array: Array = np.array(nested, datatype.wire)
    if datatype.wire.kind == "f" and np.isinf(array).any():
        raise ValueError(f"a value is more than {datatype.name} holds")
    return array


def _reason(cause: Exception) -> str:
    if isinstance(cause, RecursionError):
        return "it is nested too deep"
    return str(cause)[:300]
