"""From an address to the tree behind it: a path, s3://, gs:// or oci://.

Knows the schemes. Knows nothing of bundles.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bundle.errors import SourceError
from delivery.room import Room
from delivery.tree import LocalTree, Tree

OBJECT_STORES = ("s3", "gs", "gcs")


@contextmanager
def opened(address: str, room: Room, plain_http: bool) -> Iterator[Tree]:
    """The tree of a source, for as long as it is used. Libraries are imported for those alone who need them.

    Raises:
        SourceError: no such scheme, or nothing there.
    """
    scheme, separator, rest = address.partition("://")
    if not separator or scheme == "file":
        yield _local(Path(rest if separator else address))
    elif scheme in OBJECT_STORES:
        from delivery.objects import object_tree

        yield object_tree(address)
    elif scheme == "oci":
        from delivery.artefact import artefact_tree
        from delivery.registry import Registry, reference

        ref = reference(address)
        key = f"oci-{hashlib.sha256(str(ref).encode()).hexdigest()[:12]}"
        with room.held(key), room.workspace(key) as workspace, Registry(ref, plain_http) as registry:
            yield artefact_tree(registry, ref.wanted, str(ref), workspace)
    else:
        raise SourceError(f"'{scheme}://...': such an address is not read: give a path, s3://, gs:// or oci://")


def _local(path: Path) -> LocalTree:
    if not path.is_dir():
        raise SourceError(f"{path}: no such folder; a source is a bundle, a model or a repository")
    return LocalTree(path)
