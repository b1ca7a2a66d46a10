"""What the processes that share one port know of each other: small files in a private folder, each written whole.

A worker holds a lock on its own file for as long as it lives, and the system lets go of it however it dies, so a dead
worker is known to be dead at once; one that hangs is known by the age of its last report. Knows files and locks.
Knows nothing of models, health or HTTP.
"""

import fcntl
import os
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

WORKER = "MODELYARD_WORKER"
"""Environment variable that tells a worker its place; set by the supervisor, and no setting."""

_NUMBER = count()
T = TypeVar("T", bound=msgspec.Struct)
Action = Literal["load", "unload", "rollback", "promote"]


class Place(msgspec.Struct, frozen=True):
    """Which of the workers a process is."""

    folder: str
    index: int
    number: int
    supervisor: int
    """Its process id: a worker whose supervisor has gone ends."""
    generation: int = 0
    """How many had this place before."""

    @classmethod
    def given(cls) -> "Place | None":
        """The place that this process was given, or None where it works alone."""
        given = os.environ.get(WORKER)
        return msgspec.json.decode(given, type=cls) if given else None

    def as_environment(self) -> dict[str, str]:
        """The same, for a process that is about to be started."""
        return {WORKER: msgspec.json.encode(self).decode()}


class ModelReport(msgspec.Struct, frozen=True):
    """One model version in one worker."""

    name: str
    version: int
    state: str
    reason: str = ""


class Report(msgspec.Struct, frozen=True):
    """What a worker says of itself, again and again."""

    pid: int
    at: float
    """time.monotonic(), which is one clock for all processes of a machine."""
    not_ready: str
    not_live: str = ""
    models: list[ModelReport] = []
    done: int = 0
    """The last command that it needs no more."""


class Command(msgspec.Struct, frozen=True):
    """Something that every worker is to do."""

    action: Action
    model: str


class Outcome(msgspec.Struct, frozen=True):
    """What became of a command in one worker."""

    value: int | None = None
    error: str = ""
    kind: str = ""
    """Name of the error's class."""


@dataclass(frozen=True)
class Shared:
    """The folder, as any of its processes sees it."""

    folder: Path
    number: int

    def claim(self, index: int) -> int:
        """Take a place for as long as this process lives; the lock's descriptor, to be left open.

        The first report is written before the lock is taken: nobody may find this lock beside the report of the one
        who had the place before, and died saying that it was ready.
        """
        self.report(index, Report(os.getpid(), time.monotonic(), "it has only just been started"))
        lock = os.open(self._lock(index), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)  # waits only for those who are just looking
        return lock

    def is_alive(self, index: int) -> bool:
        """Whether the process that took a place still runs."""
        try:
            lock = os.open(self._lock(index), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def report(self, index: int, report: Report) -> None:
        """Replace what a worker said of itself.

        Two files take turns, so that a report needs no room once both are there: a full folder silences nobody.
        """
        name = f"report-{index}"
        first, second = (self.folder / f"turn-{index}-{number}" for number in (0, 1))
        file = second if _is_one(first, self.folder / name) else first
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            content = msgspec.json.encode(report)
            os.pwrite(descriptor, content, 0)
            os.ftruncate(descriptor, len(content))
        finally:
            os.close(descriptor)
        link = self.folder / f"temporary-{os.getpid()}-{next(_NUMBER)}"
        link.hardlink_to(file)
        link.replace(self.folder / name)

    def reported(self, index: int) -> Report | None:
        """What a worker, or the one that had its place before, said last."""
        return self._read(f"report-{index}", Report)

    def command(self, command: Command) -> int:
        """Add a command after all others; its number."""
        whole = self._temporary(command)
        try:
            number = max(self.commands(), default=0)
            while True:
                number += 1
                try:
                    os.link(whole, self.folder / f"command-{number:08d}")
                except FileExistsError:  # another worker was faster
                    continue
                return number
        finally:
            whole.unlink()

    def commands(self, after: int = 0) -> dict[int, Command]:
        """The commands since one, in order."""
        numbers = (int(file.name[8:]) for file in self.folder.iterdir() if file.name.startswith("command-"))
        read = ((number, self._read(f"command-{number:08d}", Command)) for number in sorted(numbers) if number > after)
        return {number: command for number, command in read if command is not None}

    def forget(self, number: int) -> None:
        """Remove a command that no worker needs any more, and what became of it."""
        for file in (f"command-{number:08d}", *(self._outcome(number, index) for index in range(self.number))):
            (self.folder / file).unlink(missing_ok=True)

    def conclude(self, number: int, index: int, outcome: Outcome) -> None:
        """Say what became of a command."""
        self._write(self._outcome(number, index), outcome)

    def concluded(self, number: int, index: int) -> Outcome | None:
        """What became of a command in a worker, once it is known."""
        return self._read(self._outcome(number, index), Outcome)

    def is_first(self, what: str) -> bool:
        """True for the first process that asks, and for no other."""
        try:
            os.close(os.open(self.folder / f"first-{what}", os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        return True

    def _lock(self, index: int) -> Path:
        return self.folder / f"lock-{index}"

    @staticmethod
    def _outcome(number: int, index: int) -> str:
        return f"outcome-{number:08d}-{index}"

    def _temporary(self, content: msgspec.Struct) -> Path:
        file = self.folder / f"temporary-{os.getpid()}-{next(_NUMBER)}"
        try:
            file.write_bytes(msgspec.json.encode(content))
        except OSError:
            file.unlink(missing_ok=True)
            raise
        return file

    def _write(self, name: str, content: msgspec.Struct) -> None:
        self._temporary(content).replace(self.folder / name)

    def _read(self, name: str, kind: type[T]) -> T | None:
        try:
            content = (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.DecodeError:  # a report's file had its next turn while it was read
            return self._read(name, kind)


def _is_one(file: Path, other: Path) -> bool:
    """Whether two names are of one file; not where either is missing."""
    try:
        return file.samefile(other)
    except FileNotFoundError:
        return False
