"""The simulated GPU, with memory that ONNX Runtime's CPU provider computes on: the host's own addresses."""

import ctypes

import numpy as np

from bundle.tensors import Array
from tests.runtime.simulated_gpu import HOST, SimulatedGpu, Span


class HostGpu(SimulatedGpu):
    """All its checks hold: of memory, of copies, of who waits for what."""

    def allocate(self, side: int, num_bytes: int) -> int:
        with self.changed:
            super().allocate(side, num_bytes)
            block = self._blocks[-1]
            block.address = int(block.data.ctypes.data)
            return block.address

    def memory(self, side: int, span: Span) -> Array:
        with self.changed:
            ours = any(block.side == side and block.holds(span) for block in self._blocks)
        if ours or side == HOST:
            return super().memory(side, span)
        address, num_bytes = span  # an output that ONNX Runtime allocated
        lent: bytes = ctypes.string_at(address, num_bytes)
        return np.frombuffer(lent, np.uint8)
