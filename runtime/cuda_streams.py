"""Memory on both sides of a GPU, copies and work in order, and work that was captured to be launched as one.

Knows CUDA by runtime/cuda.py. Knows nothing of engines.
"""

import ctypes
import gc
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from bundle.errors import RuntimeFailed
from bundle.tensors import Array
from runtime.cuda import Gpu

_CAPTURES = threading.Lock()


class _Memory(ABC):
    """Memory that grows on demand; what it held is gone then, and so is its address."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self.address = 0
        self.num_bytes = 0

    def reserve(self, num_bytes: int) -> bool:
        """Have at least this much; whether the address changed. No work may be queued on it.

        Raises:
            OutOfMemory: there is no room; nothing is held then.
        """
        if num_bytes <= self.num_bytes and self.address:
            return False
        num_bytes = max(num_bytes, 1)  # an axis of size 0 still needs an address
        self.free()  # before, not after: both at once may be more than there is
        self.address = self._allocate(num_bytes)
        self.num_bytes = num_bytes
        return True

    def free(self) -> None:
        """Give it back; again does nothing. No work may be queued on it."""
        address, num_bytes = self.address, self.num_bytes
        self.address = self.num_bytes = 0
        if address:
            self._release(address, num_bytes)

    @abstractmethod
    def _allocate(self, num_bytes: int) -> int:
        """The address of so much memory."""

    @abstractmethod
    def _release(self, address: int, num_bytes: int) -> None:
        """Free it."""


class DeviceMemory(_Memory):
    """Memory of the GPU."""

    def _allocate(self, num_bytes: int) -> int:
        self._gpu.take(num_bytes, "memory of the GPU")
        try:
            result = self._gpu.cuda.cudaMalloc(num_bytes)
            return int(self._gpu.check(result, f"allocate {num_bytes} bytes of its memory"))
        except RuntimeFailed:
            self._gpu.give_back(num_bytes)
            raise

    def _release(self, address: int, num_bytes: int) -> None:
        self._gpu.freed(self._gpu.cuda.cudaFree(address), "memory of the GPU")
        self._gpu.give_back(num_bytes)


class PinnedMemory(_Memory):
    """Memory of the host that stays where it is: copies from and to it go on while the processor does other things."""

    def _allocate(self, num_bytes: int) -> int:
        result = self._gpu.cuda.cudaHostAlloc(num_bytes, self._gpu.cuda.cudaHostAllocDefault)
        return int(self._gpu.check(result, f"pin {num_bytes} bytes of the host's memory"))

    def _release(self, address: int, num_bytes: int) -> None:
        self._gpu.freed(self._gpu.cuda.cudaFreeHost(address), "pinned memory")

    def view(self, shape: tuple[int, ...], dtype: str) -> Array:
        """The beginning of this memory as an array: no copy, and valid until it grows or is freed."""
        kind = np.dtype(dtype)
        num_bytes = int(np.prod(shape)) * kind.itemsize
        if num_bytes > self.num_bytes:
            raise ValueError(f"a view of {num_bytes} bytes of {self.num_bytes}")
        if not num_bytes:
            return np.empty(shape, kind)
        block: Any = (ctypes.c_uint8 * num_bytes).from_address(self.address)
        return np.frombuffer(block, kind).reshape(shape)


class Stream:
    """Work in order. It is done when `wait` has returned, and not before."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        cuda = gpu.cuda
        self._handle = gpu.check(cuda.cudaStreamCreateWithFlags(cuda.cudaStreamNonBlocking), "make a stream")
        self._event: Any = None
        # A thread that waits for the GPU sleeps. The default is to spin, on the core that could prepare the next batch.
        flags = cuda.cudaEventBlockingSync | cuda.cudaEventDisableTiming
        try:
            self._event = gpu.check(cuda.cudaEventCreateWithFlags(flags), "make an event")
        except RuntimeFailed:
            self.free()
            raise

    @property
    def address(self) -> int:
        """As other libraries take it."""
        return int(self._handle)

    def copy_in(self, to: DeviceMemory, source: PinnedMemory, num_bytes: int) -> None:
        """Queue a copy to the GPU; the source may be written again only after `wait`."""
        self._copy(to, source, num_bytes, self._gpu.cuda.cudaMemcpyKind.cudaMemcpyHostToDevice)

    def copy_out(self, to: PinnedMemory, source: DeviceMemory, num_bytes: int) -> None:
        """Queue a copy to the host; it can be read after `wait`."""
        self._copy(to, source, num_bytes, self._gpu.cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost)

    def _copy(self, to: _Memory, source: _Memory, num_bytes: int, kind: Any) -> None:
        if not num_bytes:
            return
        if num_bytes > min(to.num_bytes, source.num_bytes):
            raise ValueError(f"a copy of {num_bytes} bytes from {source.num_bytes} to {to.num_bytes}")
        result = self._gpu.cuda.cudaMemcpyAsync(to.address, source.address, num_bytes, kind, self._handle)
        self._gpu.check(result, "queue a copy")

    def wait(self) -> None:
        """Return when all that was queued here is done; work of other streams goes on.

        Raises:
            DeviceLost: the work broke the device.
        """
        self._gpu.check(self._gpu.cuda.cudaEventRecord(self._event, self._handle), "mark the end of a batch")
        self._gpu.check(self._gpu.cuda.cudaEventSynchronize(self._event), "finish a batch")

    def capture(self, work: Callable[[], None]) -> "Graph":
        """Record what `work` queues here, as one thing to launch; nothing of it is done now.

        Raises:
            RuntimeFailed: something in it cannot be captured; the stream can be used as before.
        """
        cuda, check = self._gpu.cuda, self._gpu.check
        with _CAPTURES, _no_collection():
            # Only what this thread does counts: others may allocate and free meanwhile.
            mode = cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
            check(cuda.cudaStreamBeginCapture(self._handle, mode), "capture a graph")
            try:
                work()
            except BaseException:
                self._drop_capture()
                raise
            graph = check(cuda.cudaStreamEndCapture(self._handle), "capture a graph")
        try:
            launchable = check(cuda.cudaGraphInstantiate(graph, 0), "prepare a captured graph")
        finally:
            self._gpu.freed(cuda.cudaGraphDestroy(graph), "the form of a graph")
        return Graph(self._gpu, launchable, self._handle)

    def _drop_capture(self) -> None:
        """End a capture that nobody wants: until then the stream does nothing else."""
        cuda = self._gpu.cuda
        error, graph = cuda.cudaStreamEndCapture(self._handle)
        if error == cuda.cudaError_t.cudaSuccess:
            cuda.cudaGraphDestroy(graph)
        else:
            cuda.cudaGetLastError()

    def free(self) -> None:
        """Destroy it; nothing may be queued."""
        if self._event is not None:
            self._gpu.freed(self._gpu.cuda.cudaEventDestroy(self._event), "an event")
        self._gpu.freed(self._gpu.cuda.cudaStreamDestroy(self._handle), "a stream")


class Graph:
    """Captured work, bound to the addresses and sizes it was captured with."""

    def __init__(self, gpu: Gpu, launchable: Any, stream: Any) -> None:
        self._gpu, self._launchable, self._stream = gpu, launchable, stream

    def launch(self) -> None:
        """Queue all of it on the stream it was captured from."""
        self._gpu.check(self._gpu.cuda.cudaGraphLaunch(self._launchable, self._stream), "launch a captured graph")

    def free(self) -> None:
        """Destroy it; it may not be queued."""
        self._gpu.freed(self._gpu.cuda.cudaGraphExecDestroy(self._launchable), "a captured graph")


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the collector away: were it to drop another engine here, its cudaFree would break the capture."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
