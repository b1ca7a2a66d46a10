"""A bucket, or a prefix in one, as a tree: s3://, and whatever speaks it, and gs://; by obstore.

Who asks is told by the standard variables and roles alone (AWS_*, a pod's role, GOOGLE_*, a node's service account).
Files are read in ranges, so that a piece that is cut off costs one piece. Knows obstore. Knows nothing of bundles.
"""

import os
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from bundle.errors import SourceError, SourceInterrupted
from delivery.patience import asked_again
from delivery.tree import MAX_FILES, PIECE_BYTES, Level

if TYPE_CHECKING:
    pass

T = TypeVar("T")

ADDRESS = re.compile(r"(?P<scheme>s3|gs|gcs)://(?P<bucket>[^/@?#]+)(?:/(?P<prefix>[^?#]*))?")
TIMES = {"connect_timeout": "10s", "timeout": "120s"}
"""For one request: a listing, or a piece of a file."""
RETRY: Any = {
    "max_retries": 2,
    "retry_timeout": timedelta(seconds=20),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2},
}
"""Inside of one request; what is longer away is waited for by delivery/patience.py."""
METADATA = re.compile(r"https?://(169\.254\.|metadata)")
"""Where credentials are asked for last; far from a cloud it is not there, and its own words say nothing of that."""
REFUSED = re.compile(r"status code: (4(?!08|29)\d\d)")
"""A client's own fault, which asking again does not mend; 408 and 429 ask to be asked again."""


class ObjectTree:
    """What lies below a prefix."""

    def __init__(self, scheme: str, bucket: str, prefix: str) -> None:
        """Nothing is asked yet.

        Raises:
            SourceError: the variables of the environment contradict each other.
        """
        from obstore.store import GCSStore, S3Store

        prefix = prefix.strip("/")
        self.where = f"{scheme}://{bucket}/{prefix}".rstrip("/")
        given: Any = {"prefix": prefix or None, "client_options": _client_options(), "retry_config": RETRY}
        self._store: S3Store | GCSStore = self._done(
            lambda: S3Store(bucket, **given) if scheme == "s3" else GCSStore(bucket, **given)
        )

    def level(self, path: str) -> Level:
        """What lies directly below a prefix."""
        import obstore

        found = asked_again(lambda: self._done(lambda: obstore.list_with_delimiter(self._store, path or None)))
        files = {one["path"].rpartition("/")[2]: one["size"] for one in found["objects"] if one["path"] != path}
        return Level(files, tuple(sorted(one.rpartition("/")[2] for one in found["common_prefixes"])))

    def walk(self, path: str) -> dict[str, int]:
        """Every object below a prefix; empty ones that stand for folders are none."""
        found = asked_again(lambda: self._done(lambda: self._walk(path)))
        folders = {name.rpartition("/")[0] for name in found}
        return {name: size for name, size in found.items() if size or name not in folders}

    def _walk(self, path: str) -> dict[str, int]:
        import obstore

        found: dict[str, int] = {}
        for many in obstore.list(self._store, path or None):
            for one in many:
                if one["path"] == path:  # an empty object that stands for the folder itself
                    continue
                found[one["path"].removeprefix(f"{path}/" if path else "")] = one["size"]
            if len(found) > MAX_FILES:
                raise SourceError(f"{self.where}/{path}: holds more than {MAX_FILES} objects; this is no bundle")
        return found

    def read(self, path: str, offset: int) -> Iterator[bytes]:
        """The bytes of an object."""
        import obstore

        size = self._done(lambda: obstore.head(self._store, path)["size"])
        while offset < size:
            start = offset
            piece = self._done(lambda: bytes(obstore.get_range(self._store, path, start=start, length=PIECE_BYTES)))  # noqa: B023 - called at once
            yield piece
            offset += len(piece)

    def _done(self, ask: Callable[[], T]) -> T:
        """What is asked, with its failure in our words."""
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        try:
            return ask()
        except FileNotFoundError as cause:
            raise SourceError(f"{self.where}: not found: {_told(cause)}") from None
        except (PermissionDeniedError, UnauthenticatedError) as cause:
            raise SourceError(f"{self.where}: access is denied: {_told(cause)}") from None
        except (BaseError, OSError, ValueError) as cause:
            told = f"{self.where}: {_told(cause)}"
            final = REFUSED.search(str(cause)) or isinstance(cause, ValueError)
            raise (SourceError if final else SourceInterrupted)(told) from None


def object_tree(address: str) -> ObjectTree:
    """The tree that an address means.

    Raises:
        SourceError: it is no address of a bucket.
    """
    found = ADDRESS.fullmatch(address)
    if found is None:
        raise SourceError(
            f"'{address.partition('://')[0]}://...' is no address that is read: give s3://bucket/prefix or "
            "gs://bucket/prefix; keys and settings do not belong in it, but in the environment (AWS_*, GOOGLE_*)"
        )
    scheme = "s3" if found["scheme"] == "s3" else "gs"
    return ObjectTree(scheme, found["bucket"], found["prefix"] or "")


def _client_options() -> Any:
    endpoints = (os.environ.get(name, "") for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"))
    plain = any(one.startswith("http://") for one in (*endpoints, os.environ.get("GOOGLE_BASE_URL", "")))
    return TIMES | ({"allow_http": True} if plain else {})


def _told(cause: Exception) -> str:
    """The store's own words in one line: no page of XML, no stack, and no query, which may hold a token."""
    text = str(cause).partition("\n\nDebug source")[0]
    code, message = re.search(r"<Code>(.*?)</Code>", text), re.search(r"<Message>(.*?)</Message>", text)
    text = re.sub(r"<\?xml.*|<Error.*|<html.*", "", text, flags=re.DOTALL)
    text = re.sub(r"(https?://[^\s?]+)\?\S*", r"\1", text)
    if METADATA.search(text):
        text += "; no credentials are in the environment, and this node's metadata service gives none"
    said = ": ".join(one[1] for one in (code, message) if one)
    return " ".join(f"{text.strip().rstrip(':')} {f'({said})' if said else ''}".split())[:600]
