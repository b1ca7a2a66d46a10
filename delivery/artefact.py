"""What an OCI manifest holds, as a tree: an artefact of files (`oras push`), or an image that has /models in it.

Layers with a title are files of that path; a layer without one, or one that is marked as a packed folder, is a tar. Of
an image the files below /models are taken, where KServe's modelcars and our own have them. Knows manifests and layers.
Knows nothing of HTTP.
"""

import hashlib
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from bundle.errors import SourceError
from bundle.manifest import stays_inside
from delivery.patience import asked_again, read_patiently
from delivery.tree import MAX_FILES, Level, LocalTree, Tree
from delivery.unpack import unpack

TITLE = "org.opencontainers.image.title"
UNPACKED = "io.deis.oras.content.unpack"
"""oras' mark of a layer that is a folder, packed."""
PACKED = ".tar+gzip"
"""Ends the media type of a folder, packed, where a client leaves out the mark."""
IMAGE_CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
IN_IMAGES = "models/"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
MOST_NESTED = 4


class Blobs(Protocol):
    """Where manifests and blobs are read."""

    def manifest(self, wanted: str) -> bytes:
        """A manifest by tag or digest."""

    def blob(self, digest: str, offset: int) -> Iterator[bytes]:
        """The bytes of a blob from `offset` on."""


class Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    """One blob, as a manifest names it."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] | None = None
    platform: dict[str, Any] | None = None

    @property
    def title(self) -> str:
        """Its path, or ""."""
        return (self.annotations or {}).get(TITLE, "")

    @property
    def is_file(self) -> bool:
        """Whether the blob is a file as it is."""
        packed = (self.annotations or {}).get(UNPACKED) == "true" or self.media_type.endswith(PACKED)
        return bool(self.title) and not packed


class Document(msgspec.Struct, frozen=True, rename="camel"):
    """A manifest, or an index of several."""

    schema_version: int
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] | None = None
    manifests: tuple[Descriptor, ...] | None = None


@dataclass(frozen=True)
class FilesTree:
    """Files that are a blob each."""

    where: str
    blobs: Blobs
    files: dict[str, Descriptor]

    def level(self, path: str) -> Level:
        """What lies directly in a folder."""
        names = self.walk(path)
        return Level(
            {name: size for name, size in names.items() if "/" not in name},
            tuple(sorted({name.partition("/")[0] for name in names if "/" in name})),
        )

    def walk(self, path: str) -> dict[str, int]:
        """Every file below a folder."""
        prefix = f"{path}/" if path else ""
        return {name[len(prefix) :]: one.size for name, one in self.files.items() if name.startswith(prefix)}

    def read(self, path: str, offset: int) -> Iterator[bytes]:
        """The bytes of a file."""
        return self.blobs.blob(self.files[path].digest, offset)


def artefact_tree(blobs: Blobs, wanted: str, where: str, workspace: Path) -> Tree:
    """The tree of a tag or digest; tars are unpacked into the workspace, an empty folder.

    Raises:
        SourceError: it cannot be read, or is no such artefact.
    """
    document = _document(blobs, wanted, where)
    layers = document.layers or ()
    if len(layers) > MAX_FILES:
        raise SourceError(f"{where}: has {len(layers)} layers; this is no bundle")
    is_image = document.config is not None and document.config.media_type in IMAGE_CONFIGS
    if not is_image and layers and all(layer.is_file for layer in layers):
        return FilesTree(where, blobs, {_path(layer, where): layer for layer in layers})
    for layer in layers:
        _unpack(blobs, layer, where, workspace, IN_IMAGES if is_image else "")
    return LocalTree(_root(workspace, is_image), where)


def _document(blobs: Blobs, wanted: str, where: str) -> Document:
    for _ in range(2):  # an index, then a manifest
        content = asked_again(lambda name=wanted: blobs.manifest(name))  # type: ignore[misc]
        try:
            document = msgspec.json.decode(content, type=Document)
        except msgspec.MsgspecError as cause:
            raise SourceError(f"{where}: its manifest cannot be read: {cause}") from None
        if document.manifests is None:
            break
        wanted = _of_this_machine(document.manifests, where)
    if document.schema_version != 2 or document.layers is None:
        raise SourceError(f"{where}: is no manifest with layers of schema version 2")
    for layer in document.layers:
        if not layer.digest.startswith("sha256:") or layer.size < 0:
            raise SourceError(f"{where}: a layer has digest '{layer.digest[:80]}'; expected is sha256")
    return document


def _of_this_machine(manifests: tuple[Descriptor, ...], where: str) -> str:
    """An index names one manifest a platform; models are the same on all."""
    known = [one for one in manifests if (one.platform or {}).get("os") != "unknown"]
    machine = MACHINES.get(platform.machine(), platform.machine())
    fitting = [one for one in known if (one.platform or {}).get("architecture") == machine]
    found = known if len(known) == 1 else fitting
    if not found:
        raise SourceError(f"{where}: is an index of {len(manifests)} manifests, none for {machine}; name one by digest")
    return found[0].digest


def _path(layer: Descriptor, where: str) -> str:
    path = layer.title.removeprefix("./")
    try:
        return stays_inside(path)
    except ValueError:
        raise SourceError(f"{where}: the layer titled {layer.title!r} leads out of its folder") from None


def _unpack(blobs: Blobs, layer: Descriptor, where: str, workspace: Path, below: str) -> None:
    found, size = hashlib.sha256(), 0

    def pieces() -> Iterator[bytes]:
        nonlocal size
        for piece in read_patiently(lambda offset: blobs.blob(layer.digest, offset), layer.size):
            found.update(piece)
            size += len(piece)
            yield piece

    name = f"{where}, layer {layer.title or layer.digest[:19]}"
    try:
        if layer.is_file:
            target = workspace / _path(layer, where)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                file.writelines(pieces())
        else:
            unpack(pieces(), workspace, name, lambda path: path.startswith(below))
    except FileExistsError:
        raise SourceError(f"{name}: is a file in one place and a folder in another") from None
    except OSError as cause:
        raise OSError(cause.errno, f"{cause.strerror} (while unpacking {name}, below {workspace.parent})") from None
    if f"sha256:{found.hexdigest()}" != layer.digest:
        raise SourceError(f"{name}: what came has digest sha256:{found.hexdigest()}, not {layer.digest}")


def _root(workspace: Path, is_image: bool) -> Path:
    """Where bundles begin: /models of an image; below the one folder that was pushed, if it holds but a folder."""
    if is_image:
        return workspace / IN_IMAGES
    folder = workspace
    for _ in range(MOST_NESTED):
        inside = list(folder.iterdir())
        if len(inside) != 1 or not inside[0].is_dir():
            break
        folder = inside[0]
    return folder
