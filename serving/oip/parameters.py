"""The parameters of a request: which the protocol reserves, what each may be, and which are nobody's here.

Parameters that nobody reserved are left alone: they are a client's notes. Knows names and values. Knows nothing of
HTTP, gRPC or tensors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bundle.errors import BadInput, Unsupported

Parameters = Mapping[str, Any]

SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")
SHARED_MEMORY = ("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size")
MAX_TIMEOUT_US = 2**53
MAX_PRIORITY = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a request says of itself."""

    priority: int = 0
    """1 is the most urgent; 0 leaves it to the server."""
    timeout_us: int = 0
    """How long it may wait, from its arrival on; 0 leaves it to the server."""
    binary_outputs: bool = False
    """Whether outputs that say nothing of their own come back as binary."""


NO_WISHES = Wishes()


def read_wishes(parameters: Parameters | None) -> Wishes:
    """The reserved parameters of a request.

    Raises:
        BadInput: a reserved name that a client must not use, or a value out of range. Unsupported: a sequence.
    """
    if not parameters:
        return NO_WISHES
    for name in parameters:
        if name.startswith("triton_") or name == "headers":
            raise BadInput(f"parameter '{name}' is reserved by the protocol; a request must not hold it")
    if any(parameters.get(name) for name in SEQUENCE):
        raise Unsupported("sequences are not kept here: every request stands alone; leave sequence_id out, or at 0")
    return Wishes(
        _whole(parameters, "priority", 0, MAX_PRIORITY),
        _whole(parameters, "timeout", 0, MAX_TIMEOUT_US),
        bool(_truth(parameters, "binary_data_output")),
    )


@dataclass(frozen=True, slots=True)
class OutputWish:
    """An output that a request asks for, and how it is to come."""

    name: str
    classes: int = 0
    """How many classes to name in its place; 0 = the tensor itself."""
    binary: bool | None = None
    """None: as the request says for all."""


def read_output_wish(name: str, parameters: Parameters | None) -> OutputWish:
    """What a request says of one output.

    Raises:
        BadInput: a value of the wrong kind or out of range. Unsupported: shared memory.
    """
    if not parameters:
        return OutputWish(name)
    refuse_shared_memory(f"output '{name}'", parameters)
    classes = _whole(parameters, "classification", 1, MAX_PRIORITY) if "classification" in parameters else 0
    return OutputWish(name, classes, _truth(parameters, "binary_data"))


def read_binary_size(parameters: Parameters | None) -> int | None:
    """How many bytes of the body an input takes, where it says so.

    Raises:
        BadInput: not a whole number from 0 on.
    """
    if not parameters or "binary_data_size" not in parameters:
        return None
    return _whole(parameters, "binary_data_size", 0, 2**63 - 1)


def refuse_shared_memory(what: str, parameters: Parameters | None) -> None:
    """Say that tensors come in requests only.

    Raises:
        Unsupported: the parameters name a region.
    """
    if parameters and any(name in parameters for name in SHARED_MEMORY):
        raise Unsupported(f"{what} is to lie in shared memory, which this server does not read; send the data")


def check_unique(what: str, names: list[str]) -> None:
    """Hold names to one use each.

    Raises:
        BadInput: one is there twice.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise BadInput(f"{what} '{name:.100}' is there more than once; name each once")
        seen.add(name)


def _whole(parameters: Parameters, name: str, low: int, high: int) -> int:
    value = parameters.get(name, low)
    if type(value) is not int or not low <= value <= high:
        raise BadInput(f"parameter '{name}' is {_shown(value)}; it must be a whole number from {low} to {high}")
    return value


def _truth(parameters: Parameters, name: str) -> bool | None:
    value = parameters.get(name)
    if value is not None and type(value) is not bool:
        raise BadInput(f"parameter '{name}' is {_shown(value)}; it must be true or false")
    return value


def _shown(value: object) -> str:
    """A value for a message; numbers of thousands of digits cannot even be printed."""
    return f"{value!r:.40}" if not isinstance(value, int) or abs(value) < 2**64 else "over 64 bits"
