"""Memory of one GPU and a queue of copies to and from it, by CUDA's own bindings: runtime/ort_binding.py's `Memory`.

Copies go from and to pinned memory on a stream of their own and let other Python threads run meanwhile. Knows CUDA's
runtime. Knows nothing of engines.
"""

import ctypes
import weakref
from typing import Any

import numpy as np

from bundle.errors import RuntimeFailed
from bundle.tensors import Array
from runtime.device_errors import STICKY, failure


class CudaMemory:
    """One stream of copies; the memory that it gives lives as long as somebody refers to it."""

    device = "cuda"

    def __init__(self, index: int, module: Any) -> None:
        self.index = index
        self._cudart = module
        self._stream = self._call("cudaStreamCreateWithFlags", self._cudart.cudaStreamNonBlocking)
        weakref.finalize(self, self._cudart.cudaStreamDestroy, self._stream).atexit = False

    def host(self, num_bytes: int) -> Array:
        """Pinned memory."""
        address = self._call("cudaHostAlloc", num_bytes, self._cudart.cudaHostAllocDefault)
        raw = (ctypes.c_uint8 * num_bytes).from_address(address)
        weakref.finalize(raw, self._cudart.cudaFreeHost, address).atexit = False
        return np.ctypeslib.as_array(raw)  # refers to `raw`

    def on_device(self, num_bytes: int) -> "CudaBlock":
        """Memory on the GPU."""
        return CudaBlock(self._cudart, self._call("cudaMalloc", num_bytes))

    def upload(self, source: Array, address: int) -> None:
        """Queue a copy to the GPU; `source` is pinned."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, source.ctypes.data, source.nbytes, kind, self._stream)

    def download(self, address: int, target: Array) -> None:
        """Queue a copy from the GPU; `target` is pinned."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", target.ctypes.data, address, target.nbytes, kind, self._stream)

    def wait(self) -> None:
        """Return when all queued copies are done."""
        self._call("cudaStreamSynchronize", self._stream)

    def _call(self, name: str, *arguments: Any) -> Any:
        check(self._cudart, "cudaSetDevice", self._cudart.cudaSetDevice(self.index))  # each thread has its own
        return check(self._cudart, name, getattr(self._cudart, name)(*arguments))


class CudaBlock:
    """Memory on a GPU."""

    def __init__(self, module: Any, address: int) -> None:
        self.address = address
        weakref.finalize(self, module.cudaFree, address).atexit = False


def cudart() -> Any:
    """CUDA's runtime, as its bindings offer it.

    Raises:
        RuntimeFailed: they are not installed.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as cause:
        raise RuntimeFailed(f"device 'cuda' needs CUDA's bindings: {cause}; pip install 'modelyard[gpu]'") from cause
    return runtime


def check(module: Any, call: str, result: tuple[Any, ...]) -> Any:
    """What a call gave besides its error code.

    Raises:
        OutOfMemory, DeviceLost, RuntimeFailed: the error, in ONNX Runtime's wording of it.
    """
    error, *values = result
    if int(error):
        words = module.cudaGetErrorString(error)[1].decode()
        raise failure(call, f"CUDA failure {int(error)}: {words} ({error.name})")
    return values[0] if values else None


def loss_of(index: int, module: Any) -> str:
    """Ask a GPU whether it is lost to this process; "" while it answers."""
    error = module.cudaSetDevice(index)[0]
    if not int(error):
        error = module.cudaDeviceSynchronize()[0]  # an error that sticks comes back with every call
    return f"the GPU says {error.name}" if int(error) in STICKY else ""
