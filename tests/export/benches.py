"""A GPU to prove on where there is none: ONNX Runtime on the CPU answers, under a GPU's name and TensorRT's manners."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bundle.device import DeviceInfo
from bundle.errors import DeviceLost
from bundle.manifest import Manifest
from bundle.store import Bundle
from bundle.tensors import Tensors, TensorSpec
from export import device_proof
from export.device_proof import Bench
from export.latency import measure
from runtime.devices import installed_version
from runtime.runtime import Placement, Runtime, load_runtime

H200 = DeviceInfo(kind="cuda", name="NVIDIA H200", compute_capability="9.0")
L4 = DeviceInfo(kind="cuda", name="NVIDIA L4", compute_capability="8.9")
VERSION = "11.4.0"

Change = Callable[[Tensors, Tensors], Tensors]
"""(inputs, right outputs) -> what this engine answers."""


class Engine:
    """Another runtime's answers, changed; its dynamic axes have no names, as TensorRT's."""

    dead_because = ""

    def __init__(self, inner: Runtime, change: Change) -> None:
        self._inner, self._change = inner, change
        self.inputs, self.outputs = _nameless(inner.inputs), _nameless(inner.outputs)

    def run(self, batch: Tensors) -> Tensors:
        return self._change(batch, self._inner.run(batch))


def _nameless(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    shapes = [tuple("?" if isinstance(size, str) else size for size in spec.shape) for spec in specs]
    return tuple(spec.model_copy(update={"shape": shape}) for spec, shape in zip(specs, shapes, strict=True))


def right(_: Tensors, outputs: Tensors) -> Tensors:
    return outputs


def off(_: Tensors, outputs: Tensors) -> Tensors:
    """Every score is 0.25 too high."""
    return {name: array + np.float32(0.25) if array.dtype == np.float32 else array for name, array in outputs.items()}


def lost(_: Tensors, outputs: Tensors) -> Tensors:
    raise DeviceLost("the GPU fell off the bus")


def gpu_bench(
    bundle: Bundle, device: DeviceInfo = H200, trt: Change = right, ort: Change = right, version: str | None = VERSION
) -> Bench:
    """A plan answers as the artefact that it was built from: the CPU runs that, then `trt` or `ort` changes it."""

    def load(manifest: Manifest, runtime: str, path: Path, placement: Placement) -> Runtime:
        if placement.device == "cpu":
            return load_runtime(manifest, runtime, path, placement)
        if runtime != "tensorrt":
            return Engine(load_runtime(manifest, runtime, path), ort)
        assert path.stat().st_size
        artefact = manifest.artefacts[path.name.removesuffix(".plan").rpartition(".")[2]]
        return Engine(load_runtime(manifest, artefact.runtime, bundle.path(artefact)), trt)

    versions = {"tensorrt": version}
    return Bench(
        device, Placement("cuda"), lambda name: versions[name] if name in versions else installed_version(name), load
    )


def measure_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let proofs measure latency with three runs a size."""
    monkeypatch.setattr(device_proof, "measure", partial(measure, min_runs=3, budget_s=0.0))


@pytest.fixture(autouse=True)
def few_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, for all tests of a module that imports it."""
    measure_little(monkeypatch)
