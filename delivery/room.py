"""A hidden folder in the repository where bundles are put together, and the locks by which fetchers keep apart.

The kernel lets go of a lock however its holder dies: what lies here under a lock that is free was left by one that was
killed, and is removed by the next. Knows folders and locks. Knows nothing of bundles.
"""

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = ".fetching"
"""Hidden: neither the service nor any command takes it for a model."""
LOOK_S = 0.2
TELL_S = 30.0
OLD_S = 24 * 3600.0
"""Where files cannot be locked, what nobody has touched for so long is taken for left behind."""
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
BUSY = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)

Say = Callable[[str], None]


class Room:
    """The hidden folder of one repository."""

    def __init__(self, repository: Path, say: Say) -> None:
        """Make it, and clear what killed fetchers left in it.

        Raises:
            OSError: the repository cannot be written to.
        """
        self.folder = repository / FOLDER
        self._say = say
        self.folder.mkdir(parents=True, exist_ok=True)
        self._clear()

    @contextmanager
    def held(self, key: str) -> Iterator[None]:
        """Be the only one that works on this, of all processes that see the folder; wait for who does already."""
        descriptor = os.open(self._lock_file(key), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._wait(descriptor, key)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def workspace(self, key: str) -> Iterator[Path]:
        """An empty folder on the repository's own file system, while the key is held; it goes with its use."""
        folder = Path(tempfile.mkdtemp(prefix=f"{key}-", dir=self.folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _lock_file(self, key: str) -> Path:
        return self.folder / f"{key}.lock"

    def _wait(self, descriptor: int, key: str) -> None:
        told_at = 0.0
        while not _locked(descriptor):
            if time.monotonic() - told_at > TELL_S:
                told_at = time.monotonic()
                self._say(f"{key}: another fetch works on it; waiting")
            time.sleep(LOOK_S)

    def _clear(self) -> None:
        for folder in self.folder.iterdir():
            key = folder.name.rpartition("-")[0]
            if not key or not folder.is_dir() or folder.is_symlink():
                continue
            descriptor = os.open(self._lock_file(key), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                if _locked(descriptor, otherwise=_is_old(folder)):
                    self._say(f"{folder}: left by a fetch that was cut off: removed")
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _locked(descriptor: int, otherwise: bool = True) -> bool:
    """Take the lock if it is free; `otherwise` where this file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as cause:
        if cause.errno in BUSY:
            return False
        if cause.errno in NO_LOCKS:
            return otherwise
        raise
    return True


def _is_old(folder: Path) -> bool:
    try:
        newest = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except OSError:  # it is going away just now
        return False
    return time.time() - newest > OLD_S
