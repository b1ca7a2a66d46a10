"""The text of one series -> float32 values: numbers between commas, blanks or line ends, as CSV has them.

A JSON array of numbers is read too, since brackets around the whole mean nothing here. Every refusal names the place
(values count from 0), and none takes longer than one pass over the bytes.
Normalisation is in the graph. Knows nothing of models or HTTP.
"""

import re
from typing import Literal

import numpy as np
from pydantic import Field

from bundle.errors import BadInput, InputTooLarge
from bundle.preprocess.prepared import Limits, Prepared, SeriesSource
from bundle.spec import Spec
from bundle.tensors import TensorSpec

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BLANKS = b" \t\r\n\v\f"
INSIDE = bytes(int(byte not in BLANKS + b",") for byte in range(256))
"""By byte: 1 where it belongs to the text of a number, 0 where it stands between two."""
NUMBER = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
NOT_FINITE = re.compile(rb"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
MAX_NUMBER_BYTES = 100  # every float64 has a shorter text; it keeps `float` from chewing on megabytes of digits
SHOWN_BYTES = 24
QUICK_BYTES = 4096


class Series(Spec):
    """A series of a fixed number of values.

    Gives `series`: float32 [num_steps], all finite.
    """

    kind: Literal["series"] = "series"
    num_steps: int = Field(ge=1, le=1_000_000)

    @property
    def input_atol(self) -> int:
        """Text becomes the nearest float32 on every machine."""
        return 0

    def assets(self) -> tuple[str, ...]:
        """It needs no files."""
        return ()

    def is_quick(self, raw: bytes) -> bool:
        """Whether preparing takes less time than giving it to another thread: some hundred numbers."""
        return len(raw) <= QUICK_BYTES

    def input_specs(self) -> tuple[TensorSpec, ...]:
        """The one tensor that a graph takes."""
        return (TensorSpec(name="series", dtype="float32", shape=("batch", self.num_steps)),)


def prepare_series(spec: Series, raw: bytes, limits: Limits) -> Prepared:
    """Read the text of one series: the row `series`, float32 [num_steps].

    Raises:
        BadInput: empty, not UTF-8, not numbers, not finite in float32, nested, or not `num_steps` values.
        InputTooLarge: more bytes than the limits allow.
    """
    tokens = _tokens(_content(raw, limits), spec.num_steps)
    values = np.array([_number(token, i) for i, token in enumerate(tokens)])
    with np.errstate(over="ignore"):
        series = values.astype(np.float32)
    if not np.isfinite(series).all():
        first = int(np.argmin(np.isfinite(series)))
        raise BadInput(f"value {first} is {_show(tokens[first])}, more than float32 holds (about 3.4e38)")
    return Prepared({"series": series}, SeriesSource(spec.num_steps))


def _content(raw: bytes, limits: Limits) -> bytes:
    """What stands between the brackets, if there are any; ends without blanks."""
    if len(raw) > limits.max_bytes:
        raise InputTooLarge(f"the series has {len(raw)} bytes; at most {limits.max_bytes} are read")
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as cause:
        raise BadInput(f"the series is not UTF-8 text: {cause.reason} at byte {cause.start}") from None
    content = raw.removeprefix(BYTE_ORDER_MARK).strip(BLANKS)
    opens, closes = content.startswith(b"["), content.endswith(b"]")
    if opens != closes:
        raise BadInput(f"the series {'begins with [ but does not end with ]' if opens else 'ends with ] without a ['}")
    content = content[1:-1].strip(BLANKS) if opens else content
    if not content:
        raise BadInput(f"the series is empty ({len(raw)} bytes without a number); send numbers between commas")
    return content


def _tokens(content: bytes, expected: int) -> list[bytes]:
    """The texts between separators. An empty place is an error: leaving it out would shift all that follow."""
    given = _count(content)
    tokens: list[bytes] = []
    if given <= expected:
        for piece in content.split(b",", expected):  # one more piece than numbers: an empty place is among them
            found = piece.split()
            if not found or found[0].startswith(b","):
                raise BadInput(f"value {len(tokens)} is missing: a comma stands there without a number")
            tokens += found
    if given != expected:
        raise BadInput(f"the series has {given} value{'s' if given != 1 else ''}; this model reads exactly {expected}")
    return tokens


def _count(content: bytes) -> int:
    """How many texts stand between separators, without cutting them out: there may be millions."""
    inside = np.frombuffer(content.translate(INSIDE), np.bool_)
    return int(np.count_nonzero(inside[1:] & ~inside[:-1])) + int(inside[:1].any())


def _number(token: bytes, index: int) -> float:
    if len(token) <= MAX_NUMBER_BYTES and NUMBER.fullmatch(token):
        return float(token)
    if NOT_FINITE.fullmatch(token):
        raise BadInput(f"value {index} is {_show(token)}; every value must be a finite number")
    if b"[" in token or b"]" in token:
        raise BadInput(f"value {index} is {_show(token)}: an array inside the array; send one flat series")
    if len(token) > MAX_NUMBER_BYTES:
        raise BadInput(
            f"value {index} is {_show(token)} of {len(token)} bytes; a number has at most {MAX_NUMBER_BYTES}"
        )
    raise BadInput(f"value {index} is {_show(token)}, which is not a number")


def _show(token: bytes) -> str:
    text = token[:SHOWN_BYTES].decode("utf-8", "replace")
    return repr(text if len(token) <= SHOWN_BYTES else text + "...")
