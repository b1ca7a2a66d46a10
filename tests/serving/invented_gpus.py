"""A machine with GPUs that nobody has: the fake runtime in every engine's place, out of memory or dead when told to."""

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bundle.device import DeviceInfo
from bundle.errors import DeviceLost, OutOfMemory, RuntimeFailed
from bundle.store import Bundle
from bundle.tensors import Tensors
from runtime.fake import FakeRuntime
from runtime.runtime import ON_CPU, RUNTIMES, Placement
from serving.batching.placing import Devices, placing_of
from serving.observing.golden_watch import GoldenWatch
from serving.repository.served import ServedModel
from serving.settings import Settings
from tests.engine_records import CPU, GPU, installed
from tests.serving.repositories import TASK, Kept, kept

SOON_S = 10
MARKS = {b"cannot be loaded": RuntimeFailed, b"is too large": OutOfMemory, b"loses the device": DeviceLost}
"""What a plan says -> what loading it raises."""
ANSWERS_WRONGLY = b"answers wrongly"
"""What a plan says whose outputs are wrong."""


class Machine:
    """What its GPUs do."""

    def __init__(self, *gpus: DeviceInfo) -> None:
        self.gpus = gpus or (GPU,)
        self.devices = Devices(self.info, installed)
        self.loaded: list[Placement] = []
        self.batches: list[tuple[int, int]] = []
        """(GPU, rows) of every batch that was computed."""
        self.most_at_once = 0
        self.capacity: dict[int, int] = {}
        """GPU -> rows of a batch that it holds; one that is not named holds any number."""
        self.dead: dict[int, str] = {}
        """GPU -> why it is lost."""
        self.broken: dict[int, str] = {}
        """GPU -> why it refuses every batch."""
        self.wrong: set[int] = set()
        """GPUs whose outputs are wrong."""
        self.gate: threading.Event | None = None
        """Batches wait here, where there is one."""
        self._lock = threading.Lock()
        self._now: list[int] = []

    def info(self, placement: Placement) -> DeviceInfo:
        if placement.device == "cpu":
            return CPU
        if placement.index >= len(self.gpus):
            raise RuntimeFailed(f"there is no GPU {placement.index} ({len(self.gpus)} there)")
        return self.gpus[placement.index]

    def at_work(self) -> list[int]:
        """The GPUs of the batches that are being computed."""
        with self._lock:
            return sorted(self._now)

    def enter(self, index: int, rows: int) -> None:
        if index in self.dead:
            raise DeviceLost(self.dead[index])
        if index in self.broken:
            raise RuntimeFailed(self.broken[index])
        if rows > self.capacity.get(index, rows):
            raise OutOfMemory(f"{rows} rows do not fit into GPU {index}")
        with self._lock:
            self._now.append(index)
            self.most_at_once = max(self.most_at_once, len(self._now))
        if self.gate is not None:
            assert self.gate.wait(SOON_S)

    def leave(self, index: int, rows: int) -> None:
        with self._lock:
            self._now.remove(index)
            self.batches.append((index, rows))


machine = Machine()
"""The one that engines are loaded on now."""


class GpuRuntime(FakeRuntime):
    """The fake runtime on one of the machine's GPUs."""

    def __init__(self, path: Path, placement: Placement = ON_CPU) -> None:
        self._machine, self._index = machine, placement.index
        content = path.read_bytes()
        for mark, kind in MARKS.items():
            if mark in content:
                raise kind(f"{path.name}: {mark.decode()}")
        self._wrong = ANSWERS_WRONGLY in content
        super().__init__(path, placement)
        machine.loaded.append(placement)

    @property
    def dead_because(self) -> str:
        """Why nothing answers here again, or ""."""
        return self._machine.dead.get(self._index, "")

    def run(self, batch: Tensors) -> Tensors:
        """Compute one batch, as the machine is."""
        rows = len(next(iter(batch.values())))
        self._machine.enter(self._index, rows)
        try:
            outputs = super().run(batch)
        finally:
            self._machine.leave(self._index, rows)
        if self._wrong or self._index in self._machine.wrong:
            return {name: array[..., ::-1].copy() for name, array in outputs.items()}
        return outputs


@asynccontextmanager
async def kept_on(
    machine: Machine, bundle: Bundle, poll_s: float = 0.0, golden: GoldenWatch | None = None, **settings: Any
) -> AsyncIterator[Kept]:
    """The repository of a bundle, looked after by a service with these settings on the machine's GPUs."""
    given = Settings(repository=bundle.folder.parents[1], device="cuda", **settings)
    async with kept(given.repository, poll_s, golden, placing=placing_of(given, machine.devices)) as here:
        yield here


def only(here: Kept) -> ServedModel:
    """The model that answers."""
    return here.models.find(TASK, None, None)


def running(here: Kept) -> tuple[str, str]:
    """Its artefact and its runtime."""
    return only(here).choice.artefact, only(here).choice.runtime


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine with two GPUs of one kind; every engine that is loaded during the test is loaded there."""
    made = Machine(GPU, GPU)
    monkeypatch.setattr("tests.serving.invented_gpus.machine", made)
    for runtime in RUNTIMES:
        monkeypatch.setitem(RUNTIMES, runtime, "tests.serving.invented_gpus:GpuRuntime")
    yield made
    if made.gate is not None:
        made.gate.set()
