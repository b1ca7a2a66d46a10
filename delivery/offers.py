"""Which bundles a source offers: it is a bundle, a model (a folder of versions) or a repository (a folder of models).

A bundle is where a manifest.json lies; what else lies about beside bundles is told and left where it is. Knows the
form of a repository. Knows nothing of how a source is read.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from bundle.errors import BundleError, SourceError
from bundle.manifest import Manifest
from bundle.spec import NAME_PATTERN
from bundle.store import MANIFEST_FILE, trusted_manifest
from delivery.patience import read_patiently
from delivery.tree import Level, Tree, below

VersionsWanted = Literal["newest", "all"]
Say = Callable[[str], None]

MAX_MANIFEST_BYTES = 64 * 2**20
"""It is read into memory."""
VERSION = re.compile("[1-9][0-9]{0,8}")
MOST_TOLD = 5


@dataclass(frozen=True)
class Offer:
    """One bundle of a source: its manifest believed, its files not read yet."""

    tree: Tree
    path: str
    manifest: Manifest
    encoded: bytes
    """The manifest's own bytes."""

    def __str__(self) -> str:
        """What people call it."""
        return f"{self.manifest.name} version {self.manifest.version}"

    @property
    def where(self) -> str:
        """Where it is kept."""
        return below(self.tree.where, self.path) if self.path else self.tree.where


@dataclass(frozen=True)
class _Place:
    path: str
    name: str | None = None
    version: int | None = None


def offers(tree: Tree, versions: VersionsWanted, say: Say) -> list[Offer]:
    """The bundles of a source: of each model the newest, or all versions.

    Raises:
        SourceError: it cannot be read, or holds no bundle.
        BundleError: a manifest that cannot be believed, or that lies where it does not belong.
    """
    return [_read(tree, place) for place in _places(tree, versions, say)]


def _places(tree: Tree, versions: VersionsWanted, say: Say) -> list[_Place]:
    root = tree.level("")
    if MANIFEST_FILE in root.files:
        return [_Place("")]
    found = [_Place(str(number), None, number) for number in _chosen(tree, "", root, versions, say)]
    if not found:
        found = list(_of_models(tree, root, versions, say))
    if not found:
        lying = ", ".join(sorted((*root.files, *root.folders))[:MOST_TOLD]) or "nothing"
        raise SourceError(
            f"{tree.where}: no bundle there: looked for {MANIFEST_FILE} in it (a bundle), in <version>/ (a model) and "
            f"in <name>/<version>/ (a repository); found {lying}"
        )
    _tell_of_files(tree, root, say)
    return found


def _of_models(tree: Tree, root: Level, versions: VersionsWanted, say: Say) -> Iterator[_Place]:
    for name in root.folders:
        if name.startswith("."):
            continue
        if not re.fullmatch(NAME_PATTERN, name):
            say(f"{tree.where}/{name}: cannot be a model's name: skipped")
            continue
        chosen = _chosen(tree, name, tree.level(name), versions, say)
        if not chosen:
            say(f"{tree.where}/{name}: holds no version with a {MANIFEST_FILE}: skipped")
        yield from (_Place(f"{name}/{number}", name, number) for number in chosen)


def _chosen(tree: Tree, path: str, level: Level, versions: VersionsWanted, say: Say) -> list[int]:
    """Of the versions in a folder those that are wanted, rising."""
    chosen: list[int] = []
    for number in sorted((int(name) for name in level.folders if VERSION.fullmatch(name)), reverse=True):
        place = below(path, str(number))
        if MANIFEST_FILE in tree.level(place).files:
            chosen.append(number)
            if versions == "newest":
                break
        else:
            say(f"{tree.where}/{place}: has no {MANIFEST_FILE} (not uploaded to the end?): skipped")
    return sorted(chosen)


def _tell_of_files(tree: Tree, root: Level, say: Say) -> None:
    if root.files:
        more = f" and {len(root.files) - MOST_TOLD} more" if len(root.files) > MOST_TOLD else ""
        say(f"{tree.where}: {', '.join(sorted(root.files)[:MOST_TOLD])}{more}: no bundle, skipped")


def _read(tree: Tree, place: _Place) -> Offer:
    path = below(place.path, MANIFEST_FILE)
    where = f"{tree.where}/{path}"
    size = tree.level(place.path).files.get(MANIFEST_FILE, 0)
    if size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{where}: has {size} bytes; a manifest has at most {MAX_MANIFEST_BYTES}")
    try:
        encoded = b"".join(read_patiently(lambda offset: tree.read(path, offset), size))
    except SourceError as cause:
        raise SourceError(f"{where}: {cause}") from None
    manifest = trusted_manifest(encoded, where)
    name, version = place.name or manifest.name, place.version or manifest.version
    if (name, version) != (manifest.name, manifest.version):
        raise BundleError(
            f"{where}: says it is '{manifest.name}' version {manifest.version}, and lies where '{name}' version "
            f"{version} belongs"
        )
    return Offer(tree, place.path, manifest, encoded)
