"""Read a file again when it has changed: how keys and certificates are replaced without a restart.

What is compared is what `stat` says of the file that a path leads to, so the swap of a link to a folder, which is how
Kubernetes renews a mounted Secret, is a change like any other. Knows files and time. Knows nothing of what is in them.
"""

import time
from pathlib import Path

CHECK_EVERY_S = 1.0
"""How often a file is looked at, at most: a rotated key may wait a second, a request must not wait for a disk."""

Signature = tuple[int, int, int, int] | None


class Watched:
    """Some files that are used together, and whether they have changed since they were last looked at."""

    def __init__(self, *files: Path, every_s: float = CHECK_EVERY_S) -> None:
        self._files = files
        self._every_s = every_s
        self._seen = [_signature(file) for file in files]
        self._next_look = time.monotonic() + every_s

    def changed(self) -> bool:
        """Whether any is another file, or has other content, than at the last look; each change is told once."""
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + self._every_s
        signatures = [_signature(file) for file in self._files]
        changed, self._seen = signatures != self._seen, signatures
        return changed


def _signature(file: Path) -> Signature:
    """None where there is no file to read."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
