"""Files of figures whose room is taken before it is written to.

prometheus_client makes its files longer without taking room for them, and writes to them as memory. Where the folder's
file system is full (64 MB is what a container's /dev/shm has), the system then ends the process with SIGBUS at its
first figure. Here room is asked for, and where there is none a new figure is counted nowhere.

Knows prometheus_client's files. Knows nothing of figures.
"""

import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

FIRST_BYTES = 1 << 16
"""As long as prometheus_client makes a new file."""
VALUE_BYTES = 16
OVERHEAD_BYTES = 4 + 8 + VALUE_BYTES
"""What an entry takes beyond its key: a length, padding at most, a value and its time."""

log = logging.getLogger("modelyard.serving")


class ReservedDict(MmapedDict):
    """prometheus_client's file of figures, within the room that it has."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        """Open or make the file.

        Raises:
            OSError: there is no room for it.
        """
        if not read_mode:
            _take_room(filename, FIRST_BYTES)
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]
        self._full = False

    def _init_value(self, key: str) -> None:
        needed = self._used + len(key.encode()) + OVERHEAD_BYTES + VALUE_BYTES
        if self._full or (needed > self._capacity and not self._may_grow()):
            # The end of the file, which nobody reads: what is counted there is lost.
            self._positions[key] = self._capacity - VALUE_BYTES
            return
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def _may_grow(self) -> bool:
        try:
            os.posix_fallocate(self._f.fileno(), 0, 2 * self._capacity)
        except OSError as cause:
            self._full = True
            log.error(
                "%s: there is no room for more figures (%s): new ones are lost until this process is started again; "
                "make room there", self._fname, cause.strerror,
            )  # fmt: skip
        return not self._full


def _take_room(filename: str, least_bytes: int) -> None:
    descriptor = os.open(filename, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, least_bytes)
    except OSError as cause:
        raise OSError(
            cause.errno, f"{cause.strerror}: figures of several processes need room there (--workers)", filename
        ) from None
    finally:
        os.close(descriptor)


def reserve(folder: Path, kinds: Iterable[str]) -> None:
    """Take this process's room for figures of each kind, before there are any.

    Raises:
        OSError: there is not enough of it.
    """
    for kind in kinds:
        _take_room(str(folder / f"{kind}_{os.getpid()}.db"), FIRST_BYTES)


def use_reserved() -> None:
    """From now on every such file that this process makes takes its room."""
    values.MmapedDict = ReservedDict  # type: ignore[attr-defined] # where its values look


def shrink(folder: Path, pid: int) -> None:
    """Give back the room that a process which has ended did not use; what it counted stays."""
    for file in folder.glob(f"*_{pid}.db"):
        with file.open("r+b") as stream:
            used = int.from_bytes(stream.read(4), sys.byteorder)
            stream.truncate(max(used, 8))
