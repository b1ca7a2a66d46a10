"""One job an output: who holds it, and how a second one gets to know.

On a local disk the system's own lock, which ends with its process. In an object store, which has no locks, a lease
that is renewed while the job lives and runs out after a crash: a job that finds one waits to see which it is. Whoever
finds another's lease in place of its own has lost the output, and stops. Knows places and clocks. Knows nothing of what
is written there.
"""

import fcntl
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bundle.errors import DataError, OutputTaken
from scoring.store import Place, put, reason

FILE = "_claim"


@dataclass(frozen=True)
class Times:
    """Of a lease, in seconds."""

    lease: float = 60.0
    renew: float = 15.0
    settle: float = 2.0
    """Two that begin at once both find their lease written after so long, and the earlier one finds another's."""


USUAL = Times()


class Lease(msgspec.Struct):
    """Who holds an output, and until when."""

    owner: str
    token: str
    until: float
    """Seconds since 1970."""


Check = Callable[[], None]
"""Raises OutputTaken where the output is another's by now."""


@contextmanager
def claim(output: Place, times: Times | None = None) -> Iterator[Check]:
    """Hold an output for as long as the body runs.

    Raises:
        OutputTaken: another job holds it. DataError: nothing can be written there.
    """
    with _locked(output) if output.is_local else _leased(output, times or USUAL) as check:
        yield check


@contextmanager
def _locked(output: Place) -> Iterator[Check]:
    path = Path(output.path, FILE)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as cause:
        raise DataError(f"{output}: nothing can be written there: {reason(cause)}") from None
    try:
        _lock(descriptor, output, path)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, _owner().encode(), 0)
        yield lambda: None
    finally:
        os.close(descriptor)


def _lock(descriptor: int, output: Place, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = path.read_text(encoding="utf-8", errors="replace").strip() or "another process"
        raise OutputTaken(f"{output}: {holder} is writing there; choose another output, or end it") from None
    except OSError as cause:
        raise DataError(f"{output}: its file system has no locks: {reason(cause)}; choose another output") from None


@contextmanager
def _leased(output: Place, times: Times) -> Iterator[Check]:
    _outlive(output, times)
    renewal = _Renewal(output, Lease(_owner(), uuid.uuid4().hex, 0.0), times)
    renewal.write()
    time.sleep(times.settle)
    renewal.look()
    renewal.check()
    renewal.start()
    try:
        yield renewal.check
    finally:
        renewal.end()


def _outlive(output: Place, times: Times) -> None:
    """Wait until a lease that lies there has run out; one that is renewed meanwhile is a job that lives."""
    held = _read(output)
    patience = time.monotonic() + times.lease
    while held is not None and time.time() < held.until and time.monotonic() < patience:
        time.sleep(times.renew / 10)
        now = _read(output)
        if now is not None and now != held:
            raise OutputTaken(f"{output}: {now.owner} is writing there; choose another output, or end that job")
        held = now


class _Renewal(threading.Thread):
    """Keeps a lease, and notices when it is lost."""

    def __init__(self, output: Place, lease: Lease, times: Times) -> None:
        super().__init__(daemon=True, name="modelyard-lease")
        self._output, self._lease, self._times = output, lease, times
        self._stopped = threading.Event()
        self._taken_by = ""

    def run(self) -> None:
        """Until the end of the job, or of the lease."""
        while not self._taken_by and not self._stopped.wait(self._times.renew):
            with suppress(DataError):  # the next renewal may succeed; until then the old one holds
                self.look()
                if not self._taken_by:
                    self.write()

    def write(self) -> None:
        """Hold it for so long from now."""
        self._lease.until = time.time() + self._times.lease
        put(self._output, FILE, msgspec.json.encode(self._lease))

    def look(self) -> None:
        """Whose it is."""
        found = _read(self._output)
        if found is not None and found.token != self._lease.token:
            self._taken_by = found.owner

    def check(self) -> None:
        """See Check."""
        if self._taken_by:
            raise OutputTaken(f"{self._output}: {self._taken_by} writes there, too, and began later; this job stops")

    def end(self) -> None:
        """Give it back."""
        self._stopped.set()
        if self.is_alive():
            self.join()
        if not self._taken_by:
            with suppress(OSError):  # it runs out by itself
                where = self._output.below(FILE)
                where.files.delete_file(where.path)


def _read(output: Place) -> Lease | None:
    where = output.below(FILE)
    try:
        with where.files.open_input_stream(where.path) as stream:
            return msgspec.json.decode(stream.read(), type=Lease)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    except OSError as cause:
        raise DataError(f"{where}: cannot be read: {reason(cause)}") from None


def _owner() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"
