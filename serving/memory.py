"""Give memory that a model has left behind back to the system.

An unloaded model's engine frees all it had, but the C library keeps freed memory for the next request of the same
thread, whole arenas of it: resident memory would stay at the sum of what each thread ever used. One call returns it.

Knows the C library. Knows nothing of models.
"""

import ctypes
import functools
from collections.abc import Callable


def give_back() -> None:
    """Return what is free to the system; takes milliseconds, during which other threads go on."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    """glibc's malloc_trim; other C libraries do not have it, and return memory by themselves."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    found: Callable[[int], int] = trim
    return found
