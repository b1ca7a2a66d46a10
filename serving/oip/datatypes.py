"""The protocol's datatypes and numpy's: names, sizes, and the bytes on the wire (little-endian, row-major, no padding).

Numbers are read where they lie: an array over the body, not a copy. BYTES elements carry a length of four bytes each;
BF16 is the upper half of a float32 and becomes one. Knows numpy. Knows nothing of requests, JSON or models.
"""

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bundle.errors import BadInput
from bundle.tensors import Array

Buffer = bytes | bytearray | memoryview

MAX_BYTES = 2**31 - 1
"""No tensor is larger: clients and servers of the protocol count bytes in 32 bits."""
LENGTH = struct.Struct("<I")
BYTES = "BYTES"
BF16 = "BF16"


@dataclass(frozen=True)
class Datatype:
    """One datatype."""

    name: str
    wire: np.dtype[np.generic] | None
    """How an element lies on the wire; None for BYTES, whose elements have their own lengths."""
    in_json: bool = True
    """Whether JSON can hold it: halves of a float have no text that everybody reads alike."""

    @property
    def config_name(self) -> str:
        """Its name in a model configuration."""
        return "TYPE_STRING" if self.wire is None else f"TYPE_{self.name}"

    @property
    def itemsize(self) -> int | None:
        """Bytes an element; None where they differ."""
        return None if self.wire is None else self.wire.itemsize


DATATYPES: dict[str, Datatype] = {
    one.name: one
    for one in (
        Datatype("BOOL", np.dtype(np.bool_)),
        *(Datatype(f"UINT{bits}", np.dtype(f"<u{bits // 8}")) for bits in (8, 16, 32, 64)),
        *(Datatype(f"INT{bits}", np.dtype(f"<i{bits // 8}")) for bits in (8, 16, 32, 64)),
        Datatype("FP16", np.dtype("<f2"), in_json=False),
        Datatype("FP32", np.dtype("<f4")),
        Datatype("FP64", np.dtype("<f8")),
        Datatype(BF16, np.dtype("<u2"), in_json=False),
        Datatype(BYTES, None),
    )
}
"""Name -> datatype."""

NAMES = {str(one.wire): name for name, one in DATATYPES.items() if one.wire is not None and name != BF16}
"""numpy's name -> the protocol's."""

WIDENS = {("FP16", "FP32"), (BF16, "FP32")}
"""(sent, wanted): every value of the first is a value of the second, so it may be sent in its place."""


def datatype_of(name: str) -> Datatype:
    """The datatype of a name.

    Raises:
        BadInput: there is none.
    """
    if name not in DATATYPES:
        raise BadInput(f"'{name}' is no datatype; there are {', '.join(DATATYPES)}")
    return DATATYPES[name]


def name_of(dtype: str) -> str:
    """The protocol's name of a numpy dtype, as tensor specs have it."""
    return NAMES[dtype]


def count_elements(shape: Sequence[int]) -> int:
    """How many elements a shape holds.

    Raises:
        BadInput: a size below 0, or more elements than any body can hold.
    """
    if any(size < 0 for size in shape):
        raise BadInput(f"shape {_short(shape)} holds a negative size; a request says how large its tensors are")
    if len(shape) > 32 or any(size > MAX_BYTES for size in shape):
        raise BadInput(f"shape {_short(shape)} is over the limits: 32 sizes, each at most {MAX_BYTES}")
    count = math.prod(shape)
    if count > MAX_BYTES:
        raise BadInput(f"shape {_short(shape)} holds more than {MAX_BYTES} elements")
    return count


def count_bytes(datatype: Datatype, shape: Sequence[int]) -> int | None:
    """How many bytes a tensor takes on the wire; None for BYTES.

    Raises:
        BadInput: more than the limit.
    """
    count = count_elements(shape)
    if datatype.itemsize is None:
        return None
    if count * datatype.itemsize > MAX_BYTES:
        raise BadInput(f"shape {_short(shape)} of {datatype.name} takes more than {MAX_BYTES} bytes")
    return count * datatype.itemsize


def array_from_bytes(datatype: Datatype, shape: Sequence[int], raw: Buffer) -> Array:
    """The tensor that lies in `raw`, without a copy where numpy's form is the wire's; never writable.

    BF16 gives float32, BYTES an array of `bytes` objects.

    Raises:
        BadInput: `raw` has not the size that datatype and shape need.
    """
    expected = count_bytes(datatype, shape)
    if expected is None:
        return elements_array(split_elements(raw, count_elements(shape)), shape)
    if len(raw) != expected:
        raise BadInput(
            f"{len(raw)} bytes for shape {list(shape)} of {datatype.name}, which takes {expected} "
            f"({datatype.itemsize} an element)"
        )
    if datatype.name == "BOOL":  # any byte but 0 is true; numpy would keep the byte, and sums would be wrong
        truths: Array = np.frombuffer(raw, np.uint8).reshape(shape) != 0
        return truths
    array: Array = np.frombuffer(raw, datatype.wire).reshape(shape)
    return widen_bf16(array) if datatype.name == BF16 else array


def bytes_from_array(array: Array, name: str) -> Buffer:
    """A tensor as it goes over the wire; for BYTES `array` holds `bytes` objects, for BF16 float32."""
    if name == BYTES:
        return join_elements(array.ravel())
    if name == BF16:
        array = (array.astype("<f4", copy=False).view("<u4") >> 16).astype("<u2")
    return np.ascontiguousarray(array, DATATYPES[name].wire).data.cast("B") if array.size else b""


def widen_bf16(halves: Array) -> Array:
    """Upper halves of float32 -> these float32."""
    return (halves.astype("<u4") << 16).view("<f4")


def split_elements(raw: Buffer, count: int) -> list[bytes]:
    """BYTES on the wire -> its elements.

    Raises:
        BadInput: not exactly `count` elements, each with a length before it.
    """
    view, elements, at = memoryview(raw), [], 0
    if count * LENGTH.size > len(view):
        raise BadInput(
            f"{len(view)} bytes cannot hold {count} BYTES elements: each has its length in 4 bytes before it"
        )
    for i in range(count):
        if at + LENGTH.size > len(view):
            raise BadInput(f"BYTES element {i} of {count} is missing: the data end at byte {len(view)}")
        (size,) = LENGTH.unpack_from(view, at)
        at += LENGTH.size
        if size > len(view) - at:
            raise BadInput(f"BYTES element {i} claims {size} bytes; only {len(view) - at} are left")
        elements.append(bytes(view[at : at + size]))
        at += size
    if at != len(view):
        raise BadInput(
            f"unexpected additional input data: {len(view) - at} bytes after the last of {count} BYTES elements"
        )
    return elements


def join_elements(elements: Iterable[bytes]) -> bytes:
    """Elements -> BYTES on the wire."""
    return b"".join(part for one in elements for part in (LENGTH.pack(len(one)), one))


def elements_array(elements: Sequence[bytes | str], shape: Sequence[int]) -> Array:
    """Elements as an array of objects; `len(elements)` is what the shape holds."""
    array = np.empty(len(elements), np.object_)
    array[:] = elements
    return array.reshape(shape)


def _short(shape: Sequence[int]) -> str:
    """A shape for a message; a hostile one may have numbers of any length."""
    text = ", ".join(str(size) if abs(size) <= MAX_BYTES else "out of range" for size in shape[:8])
    return f"[{text}{', ...' if len(shape) > 8 else ''}]"
