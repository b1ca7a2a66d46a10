"""The calls of cuda.bindings.runtime over a simulated GPU: (error, value ...) each, as the real ones give them.

Knows which calls are forbidden while a thread captures, and which go on when a device is broken.
"""

# ruff: noqa: N802, N815 - the names are CUDA's

import threading
from collections.abc import Callable
from enum import IntEnum
from functools import wraps
from types import SimpleNamespace
from typing import Any

from tests.runtime.simulated_gpu import HOST, Error, Fault, SimulatedGpu, Step, Stream


class CopyKind(IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class CaptureMode(IntEnum):
    cudaStreamCaptureModeGlobal = 0
    cudaStreamCaptureModeThreadLocal = 1
    cudaStreamCaptureModeRelaxed = 2


class Event:
    """A place in a stream."""

    def __init__(self) -> None:
        self.place: tuple[Stream, Step] | None = None


class Graph:
    """Recorded steps; also what is launched."""

    def __init__(self, steps: list[Step]) -> None:
        self.steps = steps


def call(num_values: int = 0, always: bool = False, captured: bool = False) -> Callable[..., Any]:
    """A call that gives so many values; `always`: on broken devices too; `captured`: while its thread captures too."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def checked(self: "SimulatedCuda", *arguments: Any) -> tuple[Any, ...]:
            try:
                self._may(function.__name__, always, captured)
                values = function(self, *arguments)
            except Fault as fault:
                return (fault.error, *[None] * num_values)
            return (Error.cudaSuccess, *(values if isinstance(values, tuple) else [values] * num_values))

        return checked

    return decorate


class SimulatedCuda:
    """Stands where the module cuda.bindings.runtime does."""

    cudaError_t = Error
    cudaMemcpyKind = CopyKind
    cudaStreamCaptureMode = CaptureMode
    cudaStreamNonBlocking = 1
    cudaEventBlockingSync = 1
    cudaEventDisableTiming = 2
    cudaHostAllocDefault = 0

    def __init__(self, gpu: SimulatedGpu) -> None:
        self.gpu = gpu
        self.name = "NVIDIA Q100"
        """What each of its devices is called."""
        self.refusals: dict[str, list[Error]] = {}
        """Name of a call -> what it answers next without doing anything; the end of a capture ends it, spoilt."""
        self.live: dict[str, int] = {"event": 0, "graph": 0}
        self._thread = threading.local()
        self._capturing: dict[int, Stream] = {}

    @property
    def device(self) -> int:
        """Current in this thread."""
        return getattr(self._thread, "device", 0)

    def _may(self, name: str, always: bool, captured: bool) -> None:
        planned = self.refusals.get(name)
        if planned and name == "cudaStreamEndCapture":
            planned.pop()
            self._capturing[threading.get_ident()].spoilt = True
        elif planned:
            raise Fault(planned.pop(0))
        if not always and self.device in self.gpu.broken:
            raise Fault(self.gpu.broken[self.device])
        stream = self._capturing.get(threading.get_ident())
        if stream is not None and not captured and not always:
            stream.spoilt = True
            raise Fault(Error.cudaErrorStreamCaptureUnsupported)

    def _count(self, what: str, change: int) -> None:
        with self.gpu.changed:
            self.live[what] += change

    def _own(self, stream: Stream) -> Stream:
        if stream.device != self.device:
            self.gpu.misuse(f"device {self.device} is current for work on device {stream.device}")
        return stream

    @call(1, always=True)
    def cudaGetDeviceCount(self) -> int:
        return self.gpu.num_devices

    @call(1, always=True)
    def cudaGetDevice(self) -> int:
        return self.device

    @call(always=True)
    def cudaSetDevice(self, device: int) -> None:
        if not 0 <= device < self.gpu.num_devices:
            raise Fault(Error.cudaErrorInvalidDevice)
        self._thread.device = device

    @call(1, always=True)
    def cudaGetDeviceProperties(self, device: int) -> SimpleNamespace:
        return SimpleNamespace(name=self.name.encode(), major=9, minor=0)

    @call(1, always=True)
    def cudaGetErrorString(self, error: Error) -> bytes:
        return f"the words for {int(error)}".encode()

    @call(always=True)
    def cudaGetLastError(self) -> None:
        return None

    @call(2)
    def cudaMemGetInfo(self) -> tuple[int, int]:
        return self.gpu.memory_bytes - self.gpu.live_bytes(self.device), self.gpu.memory_bytes

    @call(1)
    def cudaMalloc(self, size: int) -> int:
        return self.gpu.allocate(self.device, size)

    @call()
    def cudaFree(self, address: int) -> None:
        self.gpu.free(self.device, address)

    @call(1)
    def cudaHostAlloc(self, size: int, flags: int) -> int:
        return self.gpu.allocate(HOST, size)

    @call()
    def cudaFreeHost(self, address: int) -> None:
        self.gpu.free(HOST, address)

    @call(captured=True)
    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: CopyKind, stream: Stream) -> None:
        device, is_in = self._own(stream).device, kind is CopyKind.cudaMemcpyHostToDevice
        sides = (device, HOST) if is_in else (HOST, device)
        spans = ((to, size), (source, size))

        def copy() -> None:
            target, origin = (self.gpu.memory(side, span) for side, span in zip(sides, spans, strict=True))
            target[:] = origin

        for side, span in zip(sides, spans, strict=True):
            self.gpu.memory(side, span)  # a copy that cannot be right is refused at once
        self.gpu.queue(stream, Step("copy in" if is_in else "copy out", copy, spans))

    @call(1)
    def cudaStreamCreateWithFlags(self, flags: int) -> Stream:
        assert flags == self.cudaStreamNonBlocking, "the default stream would wait for this one"
        return self.gpu.open_stream(self.device)

    @call()
    def cudaStreamDestroy(self, stream: Stream) -> None:
        self.gpu.close_stream(self._own(stream))

    @call()
    def cudaStreamBeginCapture(self, stream: Stream, mode: CaptureMode) -> None:
        assert mode is CaptureMode.cudaStreamCaptureModeThreadLocal, "other threads allocate meanwhile"
        stream.recording, stream.spoilt, stream.recorder = [], False, threading.get_ident()
        self._capturing[stream.recorder] = self._own(stream)

    @call(1, always=True)
    def cudaStreamEndCapture(self, stream: Stream) -> Graph:
        if stream.recorder != threading.get_ident() or stream.recording is None:
            raise Fault(Error.cudaErrorStreamCaptureWrongThread)
        del self._capturing[stream.recorder]
        steps, stream.recording = stream.recording, None
        if stream.spoilt:
            raise Fault(Error.cudaErrorStreamCaptureInvalidated)
        self._count("graph", 1)
        return Graph(steps)

    @call(1)
    def cudaEventCreateWithFlags(self, flags: int) -> Event:
        assert flags & self.cudaEventBlockingSync, "waiting would burn a core"
        self._count("event", 1)
        return Event()

    @call(captured=True)
    def cudaEventRecord(self, event: Event, stream: Stream) -> None:
        step = Step("event")
        event.place = (self._own(stream), step)
        self.gpu.queue(stream, step)

    @call()
    def cudaEventSynchronize(self, event: Event) -> None:
        if event.place is None:
            return
        self.gpu.finish(*event.place)
        if event.place[0].device in self.gpu.broken:
            raise Fault(self.gpu.broken[event.place[0].device])

    @call()
    def cudaEventDestroy(self, event: Event) -> None:
        self._count("event", -1)

    @call(1)
    def cudaGraphInstantiate(self, graph: Graph, flags: int) -> Graph:
        self._count("graph", 1)
        return Graph(graph.steps)

    @call()
    def cudaGraphLaunch(self, graph: Graph, stream: Stream) -> None:
        self.gpu.note("launch", self._own(stream), ended=True)
        for step in graph.steps:
            self.gpu.queue(stream, step.again())

    @call()
    def cudaGraphExecDestroy(self, graph: Graph) -> None:
        self._count("graph", -1)

    @call()
    def cudaGraphDestroy(self, graph: Graph) -> None:
        self._count("graph", -1)
