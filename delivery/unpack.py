"""A tar, perhaps gzipped, as it comes from a stream: ordinary files and folders of it, below one folder, within limits.

Whoever made it may be an enemy: names that lead elsewhere, links, devices, sparse files, headers and contents without
end are refused, and no more is written than the disk has room for. Knows tar. Knows nothing of where it comes from.
"""

import io
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from bundle.errors import SourceError
from bundle.manifest import stays_inside
from delivery.tree import MAX_FILES

BLOCK_BYTES = 64 * 2**10
MAX_HEADER_BYTES = 2**20
"""Of one name or extended header: tarfile reads those into memory."""
RESERVE_BYTES = 16 * 2**20
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
IN_MEMORY = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class Pieces(io.RawIOBase):
    """Pieces of bytes as a file that is read once, from front to back."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """The next bytes."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        number = min(len(buffer), len(self._rest))
        buffer[:number] = self._rest[:number]
        self._rest = self._rest[number:]
        return number


class _Member(tarfile.TarInfo):
    """A header that does not grow without end."""

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        if self.type in IN_MEMORY and self.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(tar)  # type: ignore[misc] # tarfile's own hook, which its stubs leave out


def unpack(pieces: Iterator[bytes], folder: Path, name: str, wanted: Callable[[str], bool] = lambda _: True) -> None:
    """Write the files of a tar below a folder, those whose path is wanted; every piece is taken, to the last.

    Raises:
        SourceError: `name`, as it is called, is no tar, or holds what is refused.
        OSError: the disk does not take it.
    """
    file = io.BufferedReader(Pieces(pieces), BLOCK_BYTES)
    head = file.peek(4)[:4]
    if head == ZSTD:
        raise SourceError(f"{name}: is packed with zstd, which is not read here; push it with gzip, or unpacked")
    budget = _Budget(shutil.disk_usage(folder).free - RESERVE_BYTES, name)
    try:
        with tarfile.open(
            fileobj=file, mode="r|gz" if head[:2] == GZIP else "r|", tarinfo=_Member, bufsize=BLOCK_BYTES
        ) as tar:
            for member in tar:
                _take(tar, member, folder, name, wanted, budget)
    except (tarfile.TarError, EOFError, zlib.error) as cause:
        raise SourceError(f"{name}: is no tar that can be read: {cause}") from None
    while file.read(BLOCK_BYTES):  # padding, which its digest is also of
        pass


class _Budget:
    def __init__(self, num_bytes: int, name: str) -> None:
        self._bytes, self._files, self._name = num_bytes, MAX_FILES, name

    def spend(self, num_bytes: int, files: int = 0) -> None:
        self._bytes -= num_bytes
        self._files -= files
        if self._bytes < 0:
            raise SourceError(f"{self._name}: unpacks to more than is free on the disk")
        if self._files < 0:
            raise SourceError(f"{self._name}: holds more than {MAX_FILES} entries")


def _take(
    tar: tarfile.TarFile,
    member: tarfile.TarInfo,
    folder: Path,
    name: str,
    wanted: Callable[[str], bool],
    budget: _Budget,
) -> None:
    budget.spend(0, files=1)
    path = member.name.removeprefix("./").rstrip("/")
    if path in ("", ".") and member.isdir():
        return
    try:
        stays_inside(path)
    except ValueError:
        raise SourceError(f"{name}: the entry {member.name!r} leads out of its folder") from None
    if not wanted(path) or member.isdir():
        return
    if path.rpartition("/")[2].startswith(".wh."):
        raise SourceError(f"{name}: '{path}' takes away a file of a layer before; copy models in one step")
    if not member.isreg() or member.issparse():
        raise SourceError(
            f"{name}: '{path}' is no ordinary file (a link, a device, a sparse file); copy the files themselves"
        )
    content = tar.extractfile(member)
    assert content is not None  # noqa: S101 - it is regular
    _write(content, folder / path, name, budget)


def _write(content: IO[bytes], target: Path, name: str, budget: _Budget) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # a layer replaces files of those before
        written = target.open("xb")
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise SourceError(f"{name}: '{target.name}' is a file in one place and a folder in another") from None
    with written:
        while block := content.read(BLOCK_BYTES):
            budget.spend(len(block))
            written.write(block)
