"""Which files lie at a place: one, all below a folder, or those that a pattern names, in an order that never changes.

Knows file systems. Knows nothing of what the files hold.
"""

import os
import re
from collections.abc import Iterator, Sequence

import msgspec
from pyarrow import fs

from bundle.errors import DataError
from scoring.store import Place, reason

ANY = re.compile(r"[*?\[]")
NUM_WITNESSES = 8


class File(msgspec.Struct, frozen=True, gc=False):
    """One file of the input."""

    path: str
    size: int
    stamp: int
    """When it was written, in nanoseconds: with path and size it tells a changed file."""
    is_aside: bool = False
    """Whether its name, or a folder between, begins with "_": what other programs leave beside tables."""


def listing(where: Place) -> list[File]:
    """Files at a path (itself, all below it, or those that a pattern with * ? ** names), sorted by path.

    Hidden ones, and those in hidden folders, are left out.

    Raises:
        DataError: nothing is there, or it cannot be listed.
    """
    try:
        found = sorted(_found(where), key=lambda file: file.path)
    except (OSError, ValueError, re.error) as cause:
        raise DataError(f"{where}: cannot be listed: {_told(cause)}") from None
    if not found:
        raise DataError(f"{where}: there is no file")
    return found


def witnesses(found: Sequence[File]) -> list[File]:
    """A few files from all over a listing: who finds them as they are listed sees the same store."""
    real = [file for file in found if file.stamp]
    return real[:: max(1, len(real) // NUM_WITNESSES)]


def check_seen(where: Place, files: Sequence[File]) -> None:
    """Whether files are there as they were listed.

    Raises:
        DataError: one is not there, or is another one.
    """
    for file in files:
        try:
            info = where.files.get_file_info(file.path)
        except OSError as cause:
            raise DataError(f"{where.url(file.path)}: cannot be seen: {_told(cause)}") from None
        if info.type != fs.FileType.File:
            raise DataError(f"{where.url(file.path)}: it is not there")
        if (info.size, info.mtime_ns) != (file.size, file.stamp):
            raise DataError(f"{where.url(file.path)}: it is another file than the one that was listed")


def matches(where: Place, path: str) -> bool:
    """Whether a file at `path` of the same store would be among those listed."""
    if path == where.path or path.startswith(f"{where.path}/"):
        return True
    return bool(ANY.search(where.path) and _pattern(where.path).fullmatch(path))


def _found(where: Place) -> Iterator[File]:
    info = where.info()
    if info.type == fs.FileType.File:
        return iter([File(info.path, info.size, info.mtime_ns or 0)])
    if info.type == fs.FileType.Directory:
        return _below(where, where.path)
    first = ANY.search(where.path)  # only now: a name may have brackets
    if first is None:
        raise FileNotFoundError(2, "there is no such file or folder")
    wanted = _pattern(where.path)
    return (file for file in _below(where, where.path[: first.start()].rpartition("/")[0]) if wanted.match(file.path))


def _below(where: Place, root: str) -> Iterator[File]:
    if where.is_local:
        return _walk(root, (), is_aside=False)
    listed = where.files.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
    files = (one for one in listed if one.type == fs.FileType.File)
    return (
        File(one.path, one.size, one.mtime_ns or 0, _has_part(one.path, root, "_"))
        for one in files
        if not _has_part(one.path, root, ".")
    )


def _has_part(path: str, root: str, beginning: str) -> bool:
    """Whether a part of the path below a root begins so."""
    return any(part.startswith(beginning) for part in path.removeprefix(f"{root}/").split("/"))


def _walk(folder: str, above: tuple[tuple[int, int], ...], is_aside: bool) -> Iterator[File]:
    """Links are followed, but never in a circle. A link to nothing is a file that cannot be read."""
    there = os.stat(folder or "/")  # noqa: PTH116 - a million paths stay texts
    this = (there.st_dev, there.st_ino)
    if this in above:
        return
    with os.scandir(folder or "/") as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            aside = is_aside or entry.name.startswith("_")
            if entry.is_dir():
                yield from _walk(entry.path, (*above, this), aside)
            elif entry.is_file():
                status = entry.stat()
                yield File(entry.path, status.st_size, status.st_mtime_ns, aside)
            elif entry.is_symlink():
                yield File(entry.path, 0, 0, aside)


def _pattern(text: str) -> re.Pattern[str]:
    """A glob as people know it: * and ? within a folder, ** over folders."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[!?[^\]]*\])", text)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(meaning.get(part) or _letters(part) for part in parts) + r"\Z", re.DOTALL)


def _letters(part: str) -> str:
    """A set of letters, or plain text."""
    if part.startswith("[") and part.endswith("]"):
        return "[^" + part[2:] if part.startswith("[!") else part
    return re.escape(part)


def _told(cause: Exception) -> str:
    """With the path where it is another than the one that was asked for."""
    where = getattr(cause, "filename", None)
    return f"{where}: {reason(cause)}" if where else reason(cause)
