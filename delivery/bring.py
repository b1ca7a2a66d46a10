"""One bundle from its source to its folder: there whole and checked, or not at all.

Files are written into a hidden folder beside the models while their sha256 is taken, several at a time; when every one
is what the manifest says, the folder gets its name. Knows bundles and trees. Knows nothing of kinds of sources.
"""

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bundle.errors import BundleError, ModelyardError, SourceError
from bundle.store import MANIFEST_FILE, open_bundle, read_manifest, sync_folder
from delivery.offers import MOST_TOLD, Offer
from delivery.patience import read_patiently
from delivery.room import Room
from delivery.tree import below

RESERVE_BYTES = 16 * 2**20
"""Left free on the disk, for whoever else writes there."""
TELL_S = 5.0
MEGA = 1e6

Say = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """How bundles are fetched."""

    repository: Path
    verify: bool = False
    """Whether bundles that are there are held to their hashes, and not to their names and digest alone."""
    jobs: int = 8
    """Files at a time."""


@dataclass(frozen=True)
class Needed:
    """A bundle that has to be fetched, and the size of each of its files."""

    offer: Offer
    sizes: dict[str, int]

    @property
    def bytes(self) -> int:
        """All of it."""
        return sum(self.sizes.values()) + len(self.offer.encoded)


class _Stopped(Exception):
    """Raised where a file is given up because another one failed."""


def place_of(offer: Offer, repository: Path) -> Path:
    """The folder that a bundle gets."""
    return repository / offer.manifest.name / str(offer.manifest.version)


def is_there(offer: Offer, order: Order, say: Say) -> bool:
    """Whether the repository has this very bundle, valid.

    Raises:
        BundleError: it has another one of the same name and version, which is valid.
    """
    folder = place_of(offer, order.repository)
    if not folder.exists():
        return False
    try:
        manifest = open_bundle(folder).manifest if order.verify else read_manifest(folder)
        missing = [file for file in manifest.files if not (folder / file).is_file()]
        if missing:
            raise BundleError(f"{folder}/{missing[0]}: is missing")
    except BundleError as cause:
        say(f"{cause}: fetched again")
        return False
    if manifest.digest == offer.manifest.digest:
        return True
    if not order.verify:
        return is_there(offer, Order(order.repository, verify=True, jobs=order.jobs), say)
    raise BundleError(
        f"{folder}: is another bundle (digest {manifest.digest[:12]}) than {offer.where} (digest "
        f"{offer.manifest.digest[:12]}), and valid: a version is never replaced; publish it as a new version"
    )


def needed(offer: Offer, say: Say) -> Needed:
    """What has to be fetched of a bundle: the files that its manifest names, and no others.

    Raises:
        SourceError: the source cannot be listed. BundleError: it lacks a file.
    """
    found = offer.tree.walk(offer.path)
    files = offer.manifest.files
    missing = sorted(files.keys() - found.keys())
    if missing:
        raise BundleError(f"{offer.where}: lacks {_some(missing)}, which its {MANIFEST_FILE} names")
    others = sorted(found.keys() - files.keys() - {MANIFEST_FILE})
    if others:
        say(f"{offer.where}: {_some(others)}: not named by its {MANIFEST_FILE}, so not fetched")
    return Needed(offer, {file: found[file] for file in files})


def check_space(wanted: list[Needed], repository: Path) -> None:
    """Refuse to begin what the disk does not hold.

    Raises:
        SourceError: says what is needed and what is free.
    """
    total = sum(one.bytes for one in wanted)
    free = shutil.disk_usage(repository).free
    if total + RESERVE_BYTES > free:
        names = ", ".join(str(one.offer) for one in wanted)
        raise SourceError(
            f"{repository}: {total / MEGA:.1f} MB are needed for {names}, and {RESERVE_BYTES / MEGA:.0f} MB to spare, "
            f"but {free / MEGA:.1f} MB are free there; make room, or a larger volume"
        )


def bring(wanted: Needed, order: Order, room: Room, say: Say) -> Path:
    """Fetch one bundle; its folder. Another fetch that works on the same one is waited for.

    Raises:
        SourceError: a file cannot be read. BundleError: a file is not what the manifest says.
        OSError: the repository cannot be written to (full, read-only).
    """
    offer = wanted.offer
    manifest, target = offer.manifest, place_of(offer, order.repository)
    key = f"{manifest.name}-{manifest.version}"
    with room.held(key):
        if is_there(offer, order, say):
            say(f"{offer}: was brought by another fetch meanwhile")
            return target
        with room.workspace(key) as workspace:
            staged = workspace / manifest.name / str(manifest.version)
            staged.mkdir(parents=True)
            _fill(staged, wanted, order.jobs, say)
            _publish(staged, target, workspace, offer, order, say)
    return target


def _publish(staged: Path, target: Path, workspace: Path, offer: Offer, order: Order, say: Say) -> None:
    for folder in (*(path for path in staged.rglob("*") if path.is_dir()), staged):
        sync_folder(folder)
    target.parent.mkdir(exist_ok=True)
    if target.exists() and not is_there(offer, order, lambda _: None):
        target.rename(workspace / "invalid")  # told before; it goes with the workspace
    try:
        staged.rename(target)
    except OSError:
        # Where files cannot be locked, another fetch may have been quicker.
        if not target.exists() or not is_there(offer, order, say):
            raise
    sync_folder(target.parent)


def _fill(staged: Path, wanted: Needed, jobs: int, say: Say) -> None:
    progress = Progress(wanted, say)
    stop = threading.Event()
    with ThreadPoolExecutor(jobs, thread_name_prefix="fetch") as threads:
        # The largest first: none is left alone at the end.
        files = sorted(wanted.sizes, key=lambda file: -wanted.sizes[file])
        tasks = [threads.submit(_file, staged, wanted, file, progress, stop) for file in files]
        try:
            done, _ = wait(tasks, return_when=FIRST_EXCEPTION)
        finally:  # a signal, too, ends what is on its way
            stop.set()
            for task in tasks:
                task.cancel()
    for task in done:
        with suppress(_Stopped):
            task.result()
    (staged / MANIFEST_FILE).write_bytes(wanted.offer.encoded)
    with (staged / MANIFEST_FILE).open("rb") as file:
        os.fsync(file.fileno())
    progress.end()


def _file(staged: Path, wanted: Needed, file: str, progress: "Progress", stop: threading.Event) -> None:
    offer, size = wanted.offer, wanted.sizes[file]
    path, where = below(offer.path, file), f"{offer.where}/{file}"
    expected, found = offer.manifest.files[file], hashlib.sha256()
    target = staged / file
    target.parent.mkdir(parents=True, exist_ok=True)

    def pause(seconds: float) -> None:
        progress.note(f"{where}: cut off; asking again")
        stop.wait(seconds)
        if stop.is_set():
            raise _Stopped

    try:
        with target.open("xb") as written:
            for piece in read_patiently(lambda offset: offer.tree.read(path, offset), size, pause):
                if stop.is_set():
                    raise _Stopped
                found.update(piece)
                written.write(piece)
                progress.add(len(piece))
            written.flush()
            os.fsync(written.fileno())
    except ModelyardError as cause:
        raise SourceError(f"{where}: {cause}") from None
    except OSError as cause:
        raise OSError(
            cause.errno, f"{cause.strerror} (while writing {offer}, {file}, below {staged.parents[2]})"
        ) from None
    if found.hexdigest() != expected:
        raise BundleError(
            f"{where}: its sha256 is {found.hexdigest()}, the manifest says {expected}: the file was changed or damaged"
        )


class Progress:
    """A line at the beginning, one every few seconds, one at the end."""

    def __init__(self, wanted: Needed, say: Say) -> None:
        self._say = say
        self._what = str(wanted.offer)
        self._total = wanted.bytes
        self._done = len(wanted.offer.encoded)
        self._lock = threading.Lock()
        self._begun = self._told = time.monotonic()
        say(f"{self._what}: {len(wanted.sizes) + 1} files, {self._total / MEGA:.1f} MB from {wanted.offer.where}")

    def add(self, num_bytes: int) -> None:
        """So much more is there."""
        with self._lock:
            self._done += num_bytes
            now = time.monotonic()
            if now - self._told > TELL_S:
                self._told = now
                self._say(f"{self._what}: {self._done / MEGA:.1f} of {self._total / MEGA:.1f} MB")

    def note(self, text: str) -> None:
        """Tell what happened."""
        with self._lock:
            self._say(text)

    def end(self) -> None:
        """All is there."""
        seconds = time.monotonic() - self._begun
        self._say(f"{self._what}: {self._total / MEGA:.1f} MB in {seconds:.1f} s, every sha256 as in the manifest")


def _some(files: list[str]) -> str:
    more = f" and {len(files) - MOST_TOLD} more" if len(files) > MOST_TOLD else ""
    return ", ".join(files[:MOST_TOLD]) + more
