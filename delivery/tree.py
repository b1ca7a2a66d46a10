"""A source as a tree of files: what every kind of store is asked, and a folder of this machine as one.

Knows names, sizes and bytes. Knows nothing of what the files hold.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bundle.errors import SourceError

PIECE_BYTES = 4 * 2**20
"""What is held in memory of a file at a time."""
MAX_FILES = 20_000
"""A bundle has some dozen files; more than this below one folder is something else."""


@dataclass(frozen=True)
class Level:
    """What lies directly in one folder."""

    files: dict[str, int]
    """Name -> bytes."""
    folders: tuple[str, ...]


class Tree(Protocol):
    """A source. Paths are relative, with forward slashes; "" is the source itself."""

    @property
    def where(self) -> str:
        """What people call it, without anybody's secrets."""

    def level(self, path: str) -> Level:
        """What lies directly in a folder; one that is not there holds nothing.

        Raises:
            SourceError: it cannot be read.
        """

    def walk(self, path: str) -> dict[str, int]:
        """Every file below a folder, by its path from there, with its bytes.

        Raises:
            SourceError: it cannot be read, or holds more than MAX_FILES.
        """

    def read(self, path: str, offset: int) -> Iterator[bytes]:
        """The bytes of a file from `offset` on, in pieces.

        Raises:
            SourceInterrupted: asking again, from where it ended, may help.
            SourceError: asking again will not.
        """


def below(path: str, name: str) -> str:
    """A path in a tree below another."""
    return f"{path}/{name}" if path else name


class LocalTree:
    """A folder of this machine. Links are followed, as Kubernetes mounts what it mounts."""

    def __init__(self, folder: Path, where: str = "") -> None:
        self.folder = folder
        self.where = where or str(folder)

    def level(self, path: str) -> Level:
        """What lies directly in a folder."""
        files: dict[str, int] = {}
        folders: list[str] = []
        try:
            with os.scandir(self.folder / path) as entries:
                for entry in entries:
                    if entry.is_dir():
                        folders.append(entry.name)
                    elif entry.is_file():
                        files[entry.name] = entry.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as cause:
            raise SourceError(f"{self.folder / path}: cannot be read: {cause.strerror}") from None
        return Level(files, tuple(sorted(folders)))

    def walk(self, path: str) -> dict[str, int]:
        """Every file below a folder."""
        found: dict[str, int] = {}
        waiting = [""]
        while waiting:
            here = waiting.pop()
            level = self.level(below(path, here) if here else path)
            found |= {below(here, name): size for name, size in level.files.items()}
            waiting += [below(here, name) for name in level.folders]
            if len(found) + len(waiting) > MAX_FILES:
                raise SourceError(f"{self.folder / path}: holds more than {MAX_FILES} files; this is no bundle")
        return found

    def read(self, path: str, offset: int) -> Iterator[bytes]:
        """The bytes of a file."""
        place = self.folder / path
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK)  # a pipe is refused, not waited for
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise SourceError(f"{place}: is no ordinary file")
                file.seek(offset)
                while piece := file.read(PIECE_BYTES):
                    yield piece
        except OSError as cause:
            raise SourceError(f"{place}: cannot be read: {cause.strerror}") from None
