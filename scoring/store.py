"""Where inputs and outputs lie: a local path, or s3:// and gs:// through Arrow's own file systems.

Knows paths and file systems. Knows nothing of what the files hold.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import fs

from bundle.errors import DataError

REMOTE = re.compile(r"^(s3|gs|gcs)://")
ANY = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Place:
    """A path in one file system."""

    files: Any
    """A pyarrow FileSystem."""
    path: str
    given: str
    """As a person wrote it, for messages."""

    @property
    def is_local(self) -> bool:
        """Whether it is on a disk of this machine."""
        return isinstance(self.files, fs.LocalFileSystem)

    def below(self, name: str) -> "Place":
        """A path below this one."""
        return Place(self.files, f"{self.path.rstrip('/')}/{name}", f"{self.given.rstrip('/')}/{name}")

    def info(self) -> Any:
        """What Arrow knows of it (a FileInfo)."""
        return self.files.get_file_info(self.path)


@dataclass(frozen=True)
class File:
    """One file of the input."""

    path: str
    size: int
    stamp: str
    """When it was written, as the store tells: with path and size it tells a changed file."""


def place(given: str) -> Place:
    """The place that a person means.

    Raises:
        DataError: an address that no file system here understands.
    """
    if REMOTE.match(given):
        try:
            files, path = fs.FileSystem.from_uri(re.sub("^gcs://", "gs://", given))
        except (OSError, ValueError) as cause:
            raise DataError(f"{given}: {cause}") from None
        return Place(files, path, given)
    if "://" in given:
        raise DataError(f"{given}: only local paths, s3:// and gs:// are read")
    return Place(fs.LocalFileSystem(), str(Path(given).absolute()), given)


def listing(where: Place) -> list[File]:
    """Files at a path (itself, all below it, or those that a pattern with * ? ** names), sorted by path.

    Hidden ones, and those below a hidden folder, are left out.

    Raises:
        DataError: nothing is there, or it cannot be listed.
    """
    try:
        if ANY.search(where.path):
            found = _matching(where)
        elif where.info().type == fs.FileType.Directory:
            found = where.files.get_file_info(fs.FileSelector(where.path, recursive=True))
        else:
            found = [where.info()]
    except (OSError, ValueError) as cause:
        raise DataError(f"{where.given}: cannot be listed: {cause}") from None
    files = [_file(one) for one in found if one.type == fs.FileType.File and not _hidden(one.path, where.path)]
    if not files:
        raise DataError(f"{where.given}: there is no file")
    return sorted(files, key=lambda file: file.path)


def _file(info: Any) -> File:
    return File(info.path, info.size or 0, str(info.mtime_ns))


def _hidden(path: str, root: str) -> bool:
    below = path.removeprefix(root)
    return any(part.startswith((".", "_")) for part in below.split("/") if part)


def _matching(where: Place) -> list[Any]:
    fixed = where.path[: ANY.search(where.path).start()].rpartition("/")[0]  # type: ignore[union-attr]
    wanted = _pattern(where.path)
    selected = where.files.get_file_info(fs.FileSelector(fixed, recursive=True, allow_not_found=True))
    return [one for one in selected if wanted.fullmatch(one.path)]


def _pattern(text: str) -> re.Pattern[str]:
    """A glob as people know it: * and ? within a folder, ** over folders."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]*\])", text)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(meaning.get(part, part if part.startswith("[") else re.escape(part)) for part in parts))


def write_file(where: Place, content: bytes) -> None:
    """Put a whole file; its folder is made where the store has folders.

    Raises:
        DataError: the store does not take it.
    """
    try:
        if where.is_local:
            where.files.create_dir(where.path.rpartition("/")[0], recursive=True)
        with where.files.open_output_stream(where.path) as stream:
            stream.write(content)
    except OSError as cause:
        raise DataError(f"{where.given}: cannot be written: {cause}") from None
