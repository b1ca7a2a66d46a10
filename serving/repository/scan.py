"""What lies in a model repository, by a look: names, versions, and a fingerprint that tells when a folder changes.

Knows folders. Opens no file, so that a look is cheap and never waits for a writer. Knows nothing of loading.
"""

import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path

from bundle.errors import BundleError
from bundle.store import MANIFEST_FILE, names, versions
from serving.repository.model_settings import FILE as SETTINGS_FILE

Fingerprint = tuple[tuple[str, int, int, int], ...]
"""(path, size, time of its content, time of its entry) of each file. The last also tells a copy that kept its time."""


@dataclass(frozen=True)
class Found:
    """One model's folder at one moment."""

    versions: dict[int, Fingerprint]
    """Version folders that hold a manifest, and so are bundles or claim to be."""
    unfinished: tuple[int, ...] = ()
    """Version folders without one: somebody is still copying."""
    settings: Fingerprint = ()
    is_folder: bool = True
    problem: str = ""
    """Why nobody can look into its folder; then nothing else is known of it."""


GONE = Found(versions={}, is_folder=False)


def scan(repository: Path, engines: Path | None = None) -> dict[str, Found]:
    """Every model in a repository, by name; what lies for it in the cache `engines` is a part of a version.

    Raises:
        BundleError: the repository is not a readable folder.
    """
    # What was just listed is a folder, though one whose name is no text cannot be looked into by that name.
    return {name: replace(_scanned(repository, name, engines), is_folder=True) for name in names(repository)}


def _scanned(repository: Path, name: str, engines: Path | None) -> Found:
    """One model among others, whose look into its folder may fail alone."""
    try:
        return scan_model(repository, name, engines)
    except BundleError as cause:
        return Found(versions={}, problem=str(cause))


def scan_model(repository: Path, name: str, engines: Path | None = None) -> Found:
    """One model; a name that is no folder holds no versions.

    Raises:
        BundleError: its folder cannot be read.
    """
    model = repository / name
    try:
        numbers = versions(repository, name)
        finished = [number for number in numbers if _entry(model / str(number), MANIFEST_FILE)]
        return Found(
            versions={number: fingerprint(model / str(number)) + _cached(engines, name, number) for number in finished},
            unfinished=tuple(sorted(set(numbers) - set(finished))),
            settings=_entry(model, SETTINGS_FILE),
            is_folder=model.is_dir(),
        )
    except OSError as cause:
        raise BundleError(f"{model}: cannot be read: {cause.strerror}") from None


def place_of(repository: Path) -> tuple[int, int] | None:
    """Which folder a repository's path leads to: its file system and its number there; None where to none."""
    try:
        found = repository.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def fingerprint(folder: Path) -> Fingerprint:
    """What a folder looks like; a file that vanishes under the look is simply not in it."""
    found: list[tuple[str, int, int, int]] = []
    for place, _, files in os.walk(folder):
        for file in files:
            found += _entry(folder, os.path.relpath(os.path.join(place, file), folder))  # noqa: PTH118 - many, often
    return tuple(sorted(found))


def _cached(engines: Path | None, name: str, number: int) -> Fingerprint:
    """What lies in the cache for a version, whichever bundle of that number it was made for: a look reads no digest."""
    folders = sorted((engines / name).glob(f"{number}-*")) if engines else []
    return tuple(one for folder in folders for one in fingerprint(folder))


def _entry(folder: Path, file: str) -> Fingerprint:
    try:
        found = os.stat(folder / file)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as cause:  # there, and nobody may know more: opening it will say why
        return ((file, 0, 0, cause.errno or 0),)
    if not stat.S_ISREG(found.st_mode):
        return ((file, 0, 0, 0),)  # reading a pipe changes its times, and that is no new bundle
    return ((file, found.st_size, found.st_mtime_ns, found.st_ctime_ns),)
