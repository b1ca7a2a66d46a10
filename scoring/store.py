"""Where inputs and outputs lie: a local path, or s3:// and gs:// through Arrow's own file systems.

Knows paths and file systems. Knows nothing of what the files hold.
"""

import os
import re
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pyarrow import fs

from bundle.errors import DataError

REMOTE = re.compile(r"(s3|gs|gcs)://(?:([^/@]*)@)?([^/?]+)/?(.*?)(\?[a-z_]+=.*)?", re.DOTALL)
"""Scheme, who asks, bucket, key, settings: a `?` that begins no setting belongs to the key, as in a pattern."""
UNFINISHED = "_unfinished"
"""Folder of an output in which files are written before they get their names."""


@dataclass(frozen=True)
class Place:
    """A path in one file system."""

    files: Any
    """A pyarrow FileSystem."""
    path: str
    """As the file system knows it."""
    scheme: str = ""
    """"s3" or "gs"; empty on a disk."""

    def __str__(self) -> str:
        """For messages and documents: whole, and without anybody's secrets."""
        return self.url(self.path)

    def url(self, path: str) -> str:
        """What people call a path of this store."""
        return f"{self.scheme}://{path}" if self.scheme else path

    @property
    def is_local(self) -> bool:
        """Whether it is on a disk of this machine."""
        return not self.scheme

    def below(self, name: str) -> "Place":
        """A path below this one."""
        return Place(self.files, f"{self.path.rstrip('/')}/{name}", self.scheme)

    def info(self) -> Any:
        """What Arrow knows of it (a FileInfo)."""
        return self.files.get_file_info(self.path)

    def exists(self) -> bool:
        """Whether anything is there."""
        return bool(self.info().type != fs.FileType.NotFound)


def place(given: str) -> Place:
    """The place that a person means.

    Raises:
        DataError: an address that no file system here understands.
    """
    if remote := REMOTE.fullmatch(given):
        return _remote(given, *remote.groups())
    path = given.removeprefix("file://")
    if "://" in path or not path:
        raise DataError(f"'{given}' is no place that is read: give a local path, s3://bucket/key or gs://bucket/key")
    return Place(fs.LocalFileSystem(), os.path.abspath(path))  # noqa: PTH100 - Path keeps ".."


def _remote(given: str, scheme: str, who: str | None, bucket: str, key: str, settings: str | None) -> Place:
    """Only the bucket goes through Arrow's parser: a key may hold what is no URL (blanks, patterns)."""
    scheme = "gs" if scheme == "gcs" else scheme
    try:
        files, root = fs.FileSystem.from_uri(f"{scheme}://{f'{who}@' if who else ''}{bucket}{settings or ''}")
    except (OSError, ValueError) as cause:
        raise DataError(f"{scheme}://{bucket}: {cause}") from None
    return Place(files, f"{root}/{key}".rstrip("/"), scheme)


def put(output: Place, name: str, content: bytes, durable: bool = True) -> None:
    """Put a file below an output, whole or not at all; its folder is made. Not `durable`: a power cut may take it back.

    Raises:
        DataError: the store does not take it.
    """
    final = output.below(name)
    try:
        if not output.is_local:  # an object is there only once it is whole
            with final.files.open_output_stream(final.path) as stream:
                stream.write(content)
            return
        draft = draft_of(output, name)
        for path in (final.path, draft.path):
            output.files.create_dir(path.rpartition("/")[0], recursive=True)
        with draft.files.open_output_stream(draft.path) as stream:
            stream.write(content)
        publish(draft, final, durable)
    except OSError as cause:
        raise DataError(f"{final}: cannot be written: {reason(cause)}") from None


def draft_of(output: Place, name: str) -> Place:
    """Where a file is written before it gets its name: a new place each time, since a node that was given up for dead
    may still write the very same file."""
    return output.below(f"{UNFINISHED}/{name.replace('/', '.')}.{uuid.uuid4().hex}")


def publish(draft: Place, final: Place, durable: bool = True) -> None:
    """Give a finished file its name; on a disk only once its bytes lie there.

    Raises:
        OSError: the store refuses.
    """
    if draft.is_local and durable:
        _sync(draft.path)
    draft.files.move(draft.path, final.path)
    if draft.is_local and durable:
        _sync(final.path.rpartition("/")[0])


def clear_unfinished(output: Place) -> None:
    """Remove what earlier runs left half-written."""
    with suppress(OSError):
        output.files.delete_dir(output.below(UNFINISHED).path)


def settle() -> None:
    """Wait until all that was written to this machine's disks lies there."""
    os.sync()


def reason(cause: Exception) -> str:
    """Why something failed, in the system's own words and without the path, which the message around it names."""
    return cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
