"""Give memory that a model has left behind back to the system.

An engine that is let go of frees all it had, but the C library keeps much of it: blocks below a limit, which grows by
itself to 32 MB, come from arenas, and the end of a thread's arena is never returned. So while a model is brought up
every larger block is asked of the system by itself, and goes back to it when it is freed; what is left in between is
returned by one call afterwards. Requests keep the fast way throughout.

Knows the C library. Knows nothing of models.
"""

import ctypes
import functools
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of <malloc.h>
WHILE_LOADING_BYTES = 2**20
OTHERWISE_BYTES = 32 * 2**20
"""What glibc's own rule arrives at once a block of that size has been freed; page faults cost requests time."""


KEPT_BYTES = 16 * 2**20
"""Free memory at the end of an arena that is kept for the next request."""


class BlocksApart:
    """Counts those who load: the limit is one for the whole process."""

    def __init__(self) -> None:
        self._number = 0

    @contextmanager
    def while_loading(self) -> Iterator[None]:
        """Keep large blocks apart until the last one who loads is done; belongs to one thread."""
        self._number += 1
        _mmap_from(WHILE_LOADING_BYTES)
        try:
            yield
        finally:
            self._number -= 1
            if not self._number:
                _mmap_from(OTHERWISE_BYTES)


BLOCKS_APART = BlocksApart()


def give_back() -> None:
    """Return what is free to the system; takes milliseconds, during which other threads go on."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def few_arenas(num_threads: int) -> None:
    """Let threads share arenas, two to each: one a thread keeps twice what all need. For before there are threads."""
    libc = _glibc()
    if libc is not None:
        libc.mallopt(M_ARENA_MAX, max(1, num_threads // 2))


def _mmap_from(size: int) -> None:
    libc = _glibc()
    if libc is not None:
        libc.mallopt(M_MMAP_THRESHOLD, size)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    """None where the C library is another one: those return memory by themselves, or have no such calls."""
    try:
        libc = ctypes.CDLL(None)
        libc.malloc_trim.argtypes = [ctypes.c_size_t]
        libc.mallopt.argtypes = [ctypes.c_int, ctypes.c_int]
    except (AttributeError, OSError):
        return None
    return libc
