"""The simulated GPU, with memory that ONNX Runtime's CPU provider computes on: the host's own addresses."""

import ctypes

import numpy as np
import pytest

from bundle.tensors import Array
from runtime import ort_cuda
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


def play_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the CPU's provider stand where CUDA's does, in the memory of the GPU that stands where CUDA does."""
    monkeypatch.setattr(ort_cuda, "require_gpu", lambda placement: None)
    monkeypatch.setattr(ort_cuda, "PROVIDER", "CPUExecutionProvider")
    monkeypatch.setattr(ort_cuda, "BOUND_TO", "cpu")
    monkeypatch.setattr(ort_cuda, "provider_options", lambda placement, graphs: {})
