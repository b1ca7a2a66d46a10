"""One GPU as an engine uses it: which calls of CUDA are made, what device they mean, and what their errors mean.

Knows CUDA. Knows nothing of engines, tensors or queues of work.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from bundle.errors import DeviceLost, OutOfMemory, RuntimeFailed
from runtime.cuda_api import Cuda, Result
from runtime.device_errors import meaning

log = logging.getLogger("modelyard.runtime")


class Gpu:
    """One device, for one engine. Current is a matter of threads: each makes it so by `use` before anything else."""

    def __init__(self, cuda: Cuda, index: int, limit_bytes: int | None = None) -> None:
        self.cuda = cuda
        self.index = index
        self.lost = ""
        """Why nothing on this device answers again; "" while it does."""
        self._limit_bytes = limit_bytes
        self._taken_bytes = 0
        self._counting = threading.Lock()
        error, count = cuda.cudaGetDeviceCount()
        if error != cuda.cudaError_t.cudaSuccess or not 0 <= index < count:
            there = f"{count} there" if error == cuda.cudaError_t.cudaSuccess else f"CUDA says {error.name}"
            raise RuntimeFailed(
                f"there is no GPU {index} ({there}); check the driver (nvidia-smi), the container's GPUs and "
                "CUDA_VISIBLE_DEVICES, or choose device 'cpu'"
            )

    def __str__(self) -> str:
        """For a message: "cuda:0"."""
        return f"cuda:{self.index}"

    def must_live(self) -> None:
        """Raise the first cause again where the device is lost.

        Raises:
            DeviceLost: it is.
        """
        if self.lost:
            raise DeviceLost(self.lost)

    def use(self) -> None:
        """Make this device current in the calling thread.

        Raises:
            DeviceLost: it is lost.
        """
        self.must_live()
        self.check(self.cuda.cudaSetDevice(self.index), "choose the device")

    @contextmanager
    def borrowed(self) -> Iterator[None]:
        """This device is current inside; afterwards the one that was: memory is freed on whatever thread collects."""
        error, before = self.cuda.cudaGetDevice()
        self.cuda.cudaSetDevice(self.index)
        try:
            yield
        finally:
            if error == self.cuda.cudaError_t.cudaSuccess and before != self.index:
                self.cuda.cudaSetDevice(before)

    def free(self, owned: ExitStack) -> None:
        """Let go of what an engine owns here, on whatever thread that is."""
        with self.borrowed():
            owned.close()

    def check(self, result: Result, doing: str) -> Any:
        """The value of a call that did what it should.

        Raises:
            OutOfMemory: the device's memory is used up.
            DeviceLost: the device is broken for this process.
            RuntimeFailed: anything else that CUDA refused.
        """
        error = result[0]
        if error == self.cuda.cudaError_t.cudaSuccess:
            return result[1] if len(result) > 1 else None
        self.cuda.cudaGetLastError()  # else the next one who looks for errors finds this one again
        text = self.cuda.cudaGetErrorString(error)[1]
        said = f"{error.name} ({text.decode() if isinstance(text, bytes) else text})"
        kind = meaning(error.name)
        if kind is DeviceLost:
            self.lose(f"{self} is lost to this process: {said}, when asked to {doing}; start it anew")
            raise DeviceLost(self.lost)
        raise kind(f"{self} cannot {doing}: {said}{self._memory() if kind is OutOfMemory else ''}")

    def lose(self, why: str) -> None:
        """Let nobody use it any more; the first cause is the one that is told."""
        self.lost = self.lost or why

    def freed(self, result: Result, what: str) -> None:
        """Say so where something could not be freed: whoever frees can do nothing about it."""
        error = result[0]
        if error != self.cuda.cudaError_t.cudaSuccess and not self.lost and meaning(error.name) is not DeviceLost:
            log.warning("%s cannot free %s: %s", self, what, error.name)

    def take(self, num_bytes: int, what: str) -> None:
        """Count memory against the limit that was set for this engine.

        Raises:
            OutOfMemory: it would be over.
        """
        with self._counting:
            if self._limit_bytes is not None and self._taken_bytes + num_bytes > self._limit_bytes:
                raise OutOfMemory(
                    f"{self}: {what} needs {num_bytes} bytes beside {self._taken_bytes} in use, and this engine may "
                    f"have {self._limit_bytes}; raise its limit, or lower the largest batch or the slots"
                )
            self._taken_bytes += num_bytes

    def give_back(self, num_bytes: int) -> None:
        """Undo `take`."""
        with self._counting:
            self._taken_bytes -= num_bytes

    def _memory(self) -> str:
        error, free, total = self.cuda.cudaMemGetInfo()
        known = error == self.cuda.cudaError_t.cudaSuccess
        return f"; {free >> 20} of {total >> 20} MiB are free" if known else ""
