"""Bundles on disk: `<repository>/<name>/<version>/`, there whole or not at all, and believed only after checking.

Knows files, hashes and manifests. Knows nothing of engines: it says whether a bundle may be trusted, not how to run it.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from bundle.errors import BundleError
from bundle.golden import Golden, read_golden
from bundle.manifest import SCHEMA_VERSION, Artefact, Manifest, digest_of
from bundle.spec import NAME_PATTERN, problems

MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True)
class Bundle:
    """A folder whose manifest, hashes and evidence have been checked."""

    folder: Path
    manifest: Manifest

    def path(self, artefact: Artefact) -> Path:
        """Where an artefact's file lies."""
        return self.folder / artefact.file

    def golden(self) -> list[Golden]:
        """The golden samples, read anew."""
        return read_golden(self.folder, self.manifest)


def open_bundle(folder: Path) -> Bundle:
    """Check a bundle as a stranger would: form, place, evidence, digest, then every file's hash.

    Raises:
        BundleError: names the folder, the file and what is wrong with it.
    """
    folder = folder.absolute()  # a bundle is known by its place, which a relative path may not show
    content = _read_content(folder)
    manifest = _parse(folder / MANIFEST_FILE, content)
    if (folder.parent.name, folder.name) != (manifest.name, str(manifest.version)):
        raise BundleError(
            f"{folder}: {MANIFEST_FILE} says it is '{manifest.name}' version {manifest.version}; "
            f"that belongs in a folder {manifest.name}/{manifest.version}"
        )
    _check_claims(folder / MANIFEST_FILE, manifest, content)
    for file, expected in manifest.files.items():
        _check_file(folder, file, expected)
    return Bundle(folder, manifest)


def read_manifest(folder: Path) -> Manifest:
    """Parse manifest.json; unknown keys, unsafe paths and contradictions are refused.

    Raises:
        BundleError: no such file, not JSON, another schema version, or a field that is not allowed.
    """
    return _parse(folder / MANIFEST_FILE, _read_content(folder))


def trusted_manifest(encoded: bytes, where: str) -> Manifest:
    """A manifest that is not on this disk (yet): its form, evidence and digest checked, as `open_bundle` does.

    The hashes in it are then to be held to the files. `where` is its place, for messages.

    Raises:
        BundleError: says what is wrong with it.
    """
    content = _decode(encoded, where)
    manifest = _parse(where, content)
    _check_claims(where, manifest, content)
    return manifest


def _read_content(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST_FILE
    try:
        return _decode(path.read_bytes(), path)
    except FileNotFoundError:
        raise BundleError(f"{folder}: no {MANIFEST_FILE}; this is not a bundle") from None
    except OSError as cause:
        raise BundleError(f"{path}: cannot be read: {cause}") from None


def _decode(encoded: bytes, where: str | Path) -> dict[str, Any]:
    try:
        content = msgspec.json.decode(encoded)
    except (msgspec.MsgspecError, RecursionError) as cause:
        raise BundleError(f"{where}: cannot be read: {cause}") from None
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        given = content.get("schema_version") if isinstance(content, dict) else type(content).__name__
        raise BundleError(f"{where}: schema_version is {given!r}; this Modelyard reads {SCHEMA_VERSION}")
    return content


def _parse(where: str | Path, content: dict[str, Any]) -> Manifest:
    try:
        return Manifest.model_validate_json(msgspec.json.encode(content))
    except ValidationError as cause:
        raise BundleError(f"{where}: {problems(cause)}") from None


def _check_claims(where: str | Path, manifest: Manifest, content: dict[str, Any]) -> None:
    """Evidence, then digest."""
    for name, artefact in manifest.artefacts.items():
        _check_evidence(where, manifest, name, artefact)
    if manifest.digest != digest_of(content):
        raise BundleError(
            f"{where}: its content does not match its digest, so it was changed after export; "
            "restore the file or export again"
        )


def _check_evidence(manifest_file: str | Path, manifest: Manifest, name: str, artefact: Artefact) -> None:
    where = f"{manifest_file}: artefact '{name}' ({artefact.file})"
    if artefact.evidence is None:
        raise BundleError(f"{where} has no evidence that it gives the checkpoint's answers; export it again")
    shortfall = artefact.evidence.shortfall()
    if shortfall:
        raise BundleError(f"{where} is not proven: {shortfall}")
    if artefact.evidence.sha256 != manifest.files[artefact.file]:
        raise BundleError(f"{where}: its evidence was measured on another file (sha256 {artefact.evidence.sha256})")


def _check_file(folder: Path, file: str, expected: str) -> None:
    try:
        found = sha256_of(folder / file)
    except OSError as cause:
        raise BundleError(f"{folder}/{file}: cannot be read: {cause.strerror}") from None
    if found != expected:
        raise BundleError(
            f"{folder}/{file}: its sha256 is {found}, the manifest says {expected}: the file was changed or damaged"
        )


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions(repository: Path, name: str) -> list[int]:
    """Versions of a model on disk, rising; folders that are not positive integers are not versions."""
    folder = repository / name
    found = [entry.name for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []
    return sorted(int(entry) for entry in found if re.fullmatch("[1-9][0-9]*", entry))


def newest(model: Path) -> Path:
    """The bundle of a model's highest version; `model` is `<repository>/<name>`.

    Raises:
        BundleError: no such folder, or it holds no version.
    """
    found = versions(model.parent, model.name)
    if not found:
        raise BundleError(f"{model}: holds no version (a folder whose name is a positive integer)")
    return model / str(found[-1])


def open_newest(path: Path) -> Bundle:
    """The bundle in a folder; in `<repository>/<name>`, without a version, its newest.

    Raises:
        BundleError: no such folder, or not a bundle that can be trusted.
    """
    path = path.resolve()
    if not path.is_dir():
        raise BundleError(f"{path}: no such folder")
    return open_bundle(newest(path) if versions(path.parent, path.name) else path)


def is_repository(path: Path) -> bool:
    """Whether a folder holds models: it is no bundle, and none of its versions lies directly in it."""
    return not (path / MANIFEST_FILE).exists() and not versions(path.resolve().parent, path.resolve().name)


def newest_of_each(repository: Path) -> list[Path]:
    """The bundle of each model's highest version that has a manifest, by name; what holds none is no model.

    Raises:
        BundleError: the repository cannot be read, or holds no bundle.
    """
    found = []
    for name in names(repository):
        model = repository.absolute() / name
        whole = [number for number in versions(repository, name) if (model / str(number) / MANIFEST_FILE).exists()]
        found += [model / str(number) for number in whole[-1:]]
    if not found:
        raise BundleError(f"{repository}: holds no bundle (a folder <name>/<version> with a {MANIFEST_FILE})")
    return found


def names(repository: Path) -> list[str]:
    """Models in a repository: its folders, but hidden ones (a bundle being written is hidden).

    Raises:
        BundleError: the repository is not a readable folder.
    """
    try:
        found = sorted(entry.name for entry in repository.iterdir() if entry.is_dir() and entry.name[0] != ".")
    except OSError as cause:
        raise BundleError(f"{repository}: the model repository cannot be read: {cause.strerror}") from None
    # A name that is no text cannot be sent or logged; like this it is shown, and refused as a folder without versions.
    return [name.encode(errors="backslashreplace").decode() for name in found]


@contextmanager
def staging(repository: Path, name: str) -> Iterator[Path]:
    """A hidden folder beside the models to build a bundle in; whatever is left in it is removed on the way out.

    Raises:
        BundleError: the name cannot be a model's name.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise BundleError(f"'{name}' cannot be a model's name: it must match {NAME_PATTERN}")
    repository.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".staging-{name}-", dir=repository))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def commit(staged: Path, repository: Path, draft: Manifest) -> Path:
    """Hash, seal and publish a staged folder as the next version; returns the bundle's folder.

    `draft.version` and `draft.digest` are filled in here. Of two commits at once each gets a version of its own.
    """
    while True:
        version = max(versions(repository, draft.name), default=0) + 1
        manifest = draft.model_copy(update={"version": version}).sealed()
        (staged / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
        staged.chmod(0o755)
        target = repository / draft.name / str(version)
        target.parent.mkdir(exist_ok=True)
        try:
            staged.rename(target)
        except OSError as cause:
            if not target.is_dir():
                raise BundleError(f"{target}: the bundle cannot be put there: {cause.strerror}") from None
            continue
        sync_folder(target.parent)
        return target


def hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file under a folder, by its path with forward slashes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST_FILE)
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder lie on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
