"""A GPU to test against where there is none, with what makes real ones dangerous.

* Work is queued and done later: when somebody waits for its stream, and then only that stream's (the order that hurts
  most), or by a thread a stream (`threaded=True`), as on a device. So who reads before waiting, or writes memory that
  a queued copy still has to read, gets wrong answers.
* Memory is poisoned when allocated and when freed, and there is only so much of it.
* What a real device answers with a crash, or not at all, is noted in `misuses`: memory freed while work on it is
  queued, freed twice or used after; the same memory in work of two streams; copies out of bounds, from memory that is
  not pinned, or with another device current. Tests assert that there are none.
* A broken device stays broken: a step that faults takes its device with it.

Knows devices. Knows nothing of how CUDA names its calls (simulated_cuda.py), nor of engines (simulated_trt.py).
"""

# ruff: noqa: N815 - the names of errors are CUDA's

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from bundle.tensors import Array

HOST = -1
FRESH, STALE = 0xCB, 0xDD
"""What is in memory that nobody wrote yet, and in memory that is gone."""
PATIENCE_S = 60.0

Span = tuple[int, int]
"""(address, bytes)."""


class Error(IntEnum):
    """cudaError_t, as far as it is simulated; the numbers are CUDA's."""

    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorInvalidDevice = 101
    cudaErrorECCUncorrectable = 214
    cudaErrorInvalidResourceHandle = 400
    cudaErrorIllegalAddress = 700
    cudaErrorLaunchOutOfResources = 701
    cudaErrorContextIsDestroyed = 709
    cudaErrorHardwareStackError = 714
    cudaErrorLaunchFailure = 719
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901
    cudaErrorStreamCaptureWrongThread = 908


class Fault(Exception):
    """A call or a step that the device refuses."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.name)
        self.error = error


class Entry(NamedTuple):
    """One line of the journal."""

    what: str
    """"copy in", "compute", "copy out", "launch"."""
    stream: int
    ended: bool


@dataclass
class Block:
    """Memory of one side: a device's number, or HOST."""

    side: int
    address: int
    data: Array
    alive: bool = True

    def holds(self, span: Span) -> bool:
        return self.address <= span[0] < self.address + len(self.data)


@dataclass
class Step:
    """One thing to do, and the memory it needs while it waits to be done."""

    what: str
    work: Callable[[], None] = lambda: None
    spans: tuple[Span, ...] = ()
    done: bool = False

    def again(self) -> "Step":
        return Step(self.what, self.work, self.spans)


def overlap(one: Step, other: Step) -> bool:
    return any(a < d + m and d < a + n for a, n in one.spans for d, m in other.spans)


@dataclass
class Stream:
    """Steps in order; while `recording` is a list they are put there instead."""

    number: int
    device: int
    steps: deque[Step] = field(default_factory=deque)
    recording: list[Step] | None = None
    spoilt: bool = False
    recorder: int = 0
    working: threading.Lock = field(default_factory=threading.Lock)
    closed: bool = False

    def __int__(self) -> int:
        return self.number


class SimulatedGpu:
    """A machine with GPUs. One lock for its books; steps are done without it."""

    def __init__(self, num_devices: int = 1, memory_bytes: int = 1 << 28, threaded: bool = False) -> None:
        self.num_devices = num_devices
        self.memory_bytes = memory_bytes
        self.threaded = threaded
        self.misuses: list[str] = []
        self.journal: list[Entry] = []
        self.broken: dict[int, Error] = {}
        """Device -> what broke it."""
        self.may_compute = threading.Event()
        """Cleared, computing steps start and do not end (where `threaded`)."""
        self.may_compute.set()
        self.changed = threading.Condition(threading.RLock())
        self.streams: dict[int, Stream] = {}
        self._blocks: list[Block] = []
        self._faults: dict[str, list[Error | None]] = {}
        self._next_address = 0x10_0000_0000
        self._next_number = 1

    # -- what tests do with it

    def break_at(self, what: str, error: Error, after: int = 0) -> None:
        """The next step of a kind, or one later by `after`, breaks its device."""
        self._faults[what] = [None] * after + [error]

    def live_bytes(self, side: int) -> int:
        with self.changed:
            return sum(len(block.data) for block in self._blocks if block.alive and block.side == side)

    def entries(self, what: str, ended: bool = True) -> list[Entry]:
        with self.changed:
            return [one for one in self.journal if (one.what, one.ended) == (what, ended)]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE_S), "it never came to that"

    # -- memory

    def allocate(self, side: int, num_bytes: int) -> int:
        with self.changed:
            if side != HOST and self.live_bytes(side) + num_bytes > self.memory_bytes:
                raise Fault(Error.cudaErrorMemoryAllocation)
            data = np.full(num_bytes, FRESH, np.uint8)
            address = int(data.ctypes.data)
            if side != HOST:
                address, self._next_address = self._next_address, self._next_address + (num_bytes // 4096 + 2) * 4096
            self._blocks.append(Block(side, address, data))
            return address

    def free(self, side: int, address: int) -> None:
        with self.changed:
            block = next((one for one in self._blocks if one.address == address and one.side == side), None)
            if block is None or not block.alive:
                self.misuse(f"memory at {address:#x} is freed {'twice' if block else 'and was never allocated'}")
                raise Fault(Error.cudaErrorInvalidValue)
            for stream in self.streams.values():
                for step in stream.steps:
                    if any(block.holds(span) for span in step.spans):
                        self.misuse(f"memory is freed that a queued step ({step.what}) uses")
            block.alive = False
            block.data[:] = STALE  # and kept: who looks at it finds this, not the next owner's

    def memory(self, side: int, span: Span) -> Array:
        """The bytes of a span on one side.

        Raises:
            Fault: they are not there, or not all.
        """
        with self.changed:
            address, num_bytes = span
            for block in self._blocks:
                if block.side == side and block.holds(span):
                    offset = address - block.address
                    if not block.alive:
                        self.misuse("memory is used after it was freed")
                    elif offset + num_bytes <= len(block.data):
                        return block.data[offset : offset + num_bytes]
                    else:
                        self.misuse(f"{num_bytes} bytes are used of {len(block.data) - offset}")
                    raise Fault(Error.cudaErrorIllegalAddress)
            self.misuse(f"memory at {address:#x} is used, and is not {'pinned' if side == HOST else 'of this device'}")
            raise Fault(Error.cudaErrorIllegalAddress)

    def misuse(self, what: str) -> None:
        with self.changed:
            self.misuses.append(what)

    # -- streams

    def open_stream(self, device: int) -> Stream:
        with self.changed:
            stream = Stream(self.new_number(), device)
            self.streams[stream.number] = stream
        if self.threaded:
            threading.Thread(target=self._serve, args=(stream,), daemon=True).start()
        return stream

    def close_stream(self, stream: Stream) -> None:
        with self.changed:
            if stream.steps and stream.device not in self.broken:
                self.misuse("a stream is destroyed with work queued")
            stream.closed = True
            del self.streams[stream.number]
            self.changed.notify_all()

    def new_number(self) -> int:
        with self.changed:
            self._next_number += 1
            return self._next_number

    def queue(self, stream: Stream, step: Step) -> None:
        with self.changed:
            if stream.recording is not None:
                stream.recording.append(step)
                return
            for other in self.streams.values():
                if other is not stream and any(overlap(step, queued) for queued in other.steps):
                    self.misuse(f"two streams use the same memory at once ({step.what})")
            stream.steps.append(step)
            self.changed.notify_all()

    def finish(self, stream: Stream, step: Step) -> None:
        """Wait until a queued step is done."""
        if self.threaded:
            self.wait_until(lambda: step.done)
            return
        with stream.working:
            while not step.done:
                self._do(stream, stream.steps[0])

    def _serve(self, stream: Stream) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: stream.steps or stream.closed)
                if stream.closed:
                    return
            self._do(stream, stream.steps[0])

    def _do(self, stream: Stream, step: Step) -> None:
        """Do the first step of a stream; it stays queued until it is done."""
        if stream.device not in self.broken:
            self.note(step.what, stream, ended=False)
            try:
                self._fault_as_planned(step.what)
                if self.threaded and step.what == "compute":
                    assert self.may_compute.wait(PATIENCE_S)
                step.work()
            except Fault as fault:
                self.broken[stream.device] = fault.error
            self.note(step.what, stream, ended=True)
        with self.changed:
            stream.steps.popleft()
            step.done = True
            self.changed.notify_all()

    def _fault_as_planned(self, what: str) -> None:
        with self.changed:
            planned = self._faults.get(what)
            error = planned.pop(0) if planned else None
        if error is not None:
            raise Fault(error)

    def note(self, what: str, stream: Stream, ended: bool) -> None:
        with self.changed:
            self.journal.append(Entry(what, stream.number, ended))
            self.changed.notify_all()
