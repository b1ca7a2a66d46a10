"""A machine with two simulated GPUs, as the whole product meets it: CUDA and TensorRT stand where their modules do.

So devices are found, engines loaded by the real `TrtRuntime` and artefacts by the real `OrtRuntime`; what computes in
the end is ONNX Runtime on the CPU, in the simulated GPUs' memory. Only the builder is stood in for: a plan that can be
run here is an ONNX file with profiles. Where TensorRT-RTX is installed it builds the same graph for the same profiles.
"""

import gc
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest

from export import build_engine
from export.engine_profiles import Profile
from export.tensorrt import BuildOptions, Plan, build_plan
from runtime import devices, ort_cuda
from tests.export.benches import measure_little
from tests.runtime.host_gpu import HostGpu, play_provider
from tests.runtime.simulated_trt import SimulatedTensorRT, simulated_modules, write_plan

NUM_GPUS = 2


class SimulatedMachine:
    """What tests do to it."""

    def __init__(self, folder: Path) -> None:
        self.gpu = HostGpu(num_devices=NUM_GPUS)
        self.trt: SimulatedTensorRT
        self.trt, self.cuda = simulated_modules(self.gpu)
        self._folder = folder

    def build(self, _: Any, path: Path, profiles: list[Profile], options: BuildOptions | None = None) -> Plan:
        """Stands where `export.tensorrt.build_plan` does."""
        built_with = {"seconds": "0"}
        if importlib.util.find_spec("tensorrt_rtx"):
            built_with = build_plan(importlib.import_module("tensorrt_rtx"), path, profiles, options).built_with
        shapes = [
            {name: [[getattr(size, end) for size in sizes] for end in ("least", "best", "most")]
             for name, sizes in profile.items()}
            for profile in profiles
        ]  # fmt: skip
        return Plan(write_plan(self._folder / "simulated.plan", path, shapes).read_bytes(), built_with)


@pytest.fixture
def simulated_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimulatedMachine]:
    """This process runs on it until the test ends; whatever is done to its memory that must not be, is told."""
    machine = SimulatedMachine(tmp_path)
    monkeypatch.setitem(sys.modules, "tensorrt", cast(ModuleType, machine.trt))
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cast(ModuleType, machine.cuda))
    play_provider(monkeypatch)
    monkeypatch.setattr(ort_cuda, "nodes_with_weights_on_cpu", lambda session: [])
    monkeypatch.setattr(build_engine, "build_plan", machine.build)
    measure_little(monkeypatch)
    devices._gpu.cache_clear()
    yield machine
    devices._gpu.cache_clear()
    gc.collect()
    assert machine.gpu.misuses == []
