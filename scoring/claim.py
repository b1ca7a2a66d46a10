"""One job an output: who holds it, and how a second one gets to know.

On a local disk the system's own lock, which ends with its process. In an object store a lease that is renewed while
the job lives, since stores have no locks: after a crash it runs out. Knows places and clocks. Knows nothing of what
is written there.
"""

import fcntl
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from bundle.errors import OutputTaken
from scoring.store import Place

FILE = "_claim"
LEASE_S = 60.0
RENEW_S = 15.0


class Lease(msgspec.Struct):
    """Who holds an output, and until when."""

    owner: str
    token: str
    until: float
    """Seconds since 1970."""


@contextmanager
def claim(output: Place) -> Iterator[None]:
    """Hold an output for as long as the body runs.

    Raises:
        OutputTaken: another job holds it.
    """
    with _locked(output) if output.is_local else _leased(output):
        yield


@contextmanager
def _locked(output: Place) -> Iterator[None]:
    path = Path(output.path, FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = path.read_text(encoding="utf-8", errors="replace").strip() or "another process"
            raise OutputTaken(f"{output.given}: {holder} is writing there; choose another output, or end it") from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, _owner().encode())
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _leased(output: Place) -> Iterator[None]:
    where = output.below(FILE)
    lease = Lease(_owner(), uuid.uuid4().hex, time.time() + LEASE_S)
    held = _read(where)
    if held is not None and held.until > time.time():
        raise OutputTaken(
            f"{output.given}: {held.owner} is writing there (its lease runs {held.until - time.time():.0f} s more "
            "unless it is renewed); choose another output, end that job, or wait"
        )
    _write(where, lease)
    if (found := _read(where)) is None or found.token != lease.token:
        raise OutputTaken(f"{output.given}: {found.owner if found else 'another job'} began at the same moment")
    stop = threading.Event()
    renewing = threading.Thread(target=_renew, args=(where, lease, stop), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        stop.set()
        renewing.join()
        with suppress(OSError):  # it runs out by itself
            where.files.delete_file(where.path)


def _renew(where: Place, lease: Lease, stop: threading.Event) -> None:
    while not stop.wait(RENEW_S):
        lease.until = time.time() + LEASE_S
        with suppress(OSError):  # the next renewal may succeed; until then the old one holds
            _write(where, lease)


def _read(where: Place) -> Lease | None:
    try:
        with where.files.open_input_stream(where.path) as stream:
            return msgspec.json.decode(stream.read(), type=Lease)
    except (OSError, msgspec.MsgspecError):
        return None


def _write(where: Place, lease: Lease) -> None:
    with where.files.open_output_stream(where.path) as stream:
        stream.write(msgspec.json.encode(lease))


def _owner() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"
