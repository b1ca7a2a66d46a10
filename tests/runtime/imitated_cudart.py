"""cuda.bindings.runtime over the host's memory: real copies, made when they are waited for; real limits and errors.

What it does not imitate: kernels, devices that differ, and that a GPU cannot be read from the host.
"""

# ruff: noqa: N802, N815 - the names are NVIDIA's

import ctypes
from enum import IntEnum
from threading import Lock
from typing import Any

import numpy as np

from runtime.cuda_memory import CudaMemory


class Error(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInvalidValue = 1
    cudaErrorInvalidDevice = 101
    cudaErrorIllegalAddress = 700


WORDS = {
    Error.cudaSuccess: b"no error",
    Error.cudaErrorMemoryAllocation: b"out of memory",
    Error.cudaErrorInvalidValue: b"invalid argument",
    Error.cudaErrorInvalidDevice: b"invalid device ordinal",
    Error.cudaErrorIllegalAddress: b"an illegal memory access was encountered",
}


class Kind(IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class ImitatedCudart:
    """One GPU with so much memory."""

    cudaMemcpyKind = Kind
    cudaStreamNonBlocking = 1
    cudaHostAllocDefault = 0

    def __init__(self, num_bytes: int = 1 << 30) -> None:
        self.free_bytes = num_bytes
        self.broken = Error.cudaSuccess
        """A sticky error: every call gives it."""
        self.on_device: dict[int, Any] = {}
        self.pinned: dict[int, Any] = {}
        self.allocations = 0
        self._queues: dict[int, list[tuple[int, int, int]]] = {}
        self._lock = Lock()

    def cudaSetDevice(self, index: int) -> tuple[Error]:
        return (self.broken or (Error.cudaSuccess if index == 0 else Error.cudaErrorInvalidDevice),)

    def cudaDeviceSynchronize(self) -> tuple[Error]:
        return (self.broken,)

    def cudaGetErrorString(self, error: Error) -> tuple[Error, bytes]:
        return Error.cudaSuccess, WORDS[error]

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Error, int | None]:
        with self._lock:
            stream = len(self._queues) + 1
            self._queues[stream] = []
        return self._give(stream)

    def cudaStreamDestroy(self, stream: int) -> tuple[Error]:
        return (self.broken,)

    def cudaMalloc(self, num_bytes: int) -> tuple[Error, int | None]:
        with self._lock:
            if num_bytes > self.free_bytes:
                return Error.cudaErrorMemoryAllocation, None
            self.free_bytes -= num_bytes
            self.allocations += 1
            block = np.full(num_bytes, 0xAB, np.uint8)
            self.on_device[block.ctypes.data] = block
        return self._give(block.ctypes.data)

    def cudaFree(self, address: int) -> tuple[Error]:
        with self._lock:
            self.free_bytes += self.on_device.pop(address).nbytes
        return (self.broken,)

    def cudaHostAlloc(self, num_bytes: int, flags: int) -> tuple[Error, int | None]:
        block = np.full(num_bytes, 0xCD, np.uint8)
        with self._lock:
            self.allocations += 1
            self.pinned[block.ctypes.data] = block
        return self._give(block.ctypes.data)

    def cudaFreeHost(self, address: int) -> tuple[Error]:
        with self._lock:
            del self.pinned[address]
        return (self.broken,)

    def cudaMemcpyAsync(self, to: int, source: int, num_bytes: int, kind: Kind, stream: int) -> tuple[Error]:
        self._queues[stream].append((to, source, num_bytes))
        return (self.broken,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Error]:
        for to, source, num_bytes in self._queues[stream]:
            ctypes.memmove(to, source, num_bytes)
        self._queues[stream].clear()
        return (self.broken,)

    def _give(self, value: int) -> tuple[Error, int | None]:
        return (self.broken, None) if self.broken else (Error.cudaSuccess, value)


class MemoryOnHost(CudaMemory):
    """The GPU's memory where ONNX Runtime's CPU provider can compute on it."""

    device = "cpu"
