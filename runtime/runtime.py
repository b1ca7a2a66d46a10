"""The form of an inference engine, the table of all of them, and how one is loaded.

Knows tensors and artefact files. Knows nothing of tasks, preprocessing or queues.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bundle.device import DeviceKind
from bundle.errors import RuntimeFailed
from bundle.manifest import Manifest
from bundle.tables import entry
from bundle.tensors import Tensors, TensorSpec


@dataclass(frozen=True)
class Placement:
    """Where an artefact runs, and with how much of it."""

    device: DeviceKind = "cpu"
    index: int = 0
    """Which GPU, as CUDA numbers those that this process may see."""
    threads: int = 1
    """Processors for one batch, on a CPU."""
    memory_bytes: int | None = None
    """Most memory of a GPU that the engine may take for itself; None: all that is there."""
    slots: int = 1
    """Batches that are on a GPU at once: one computes while the next is copied."""
    graph_batches: tuple[int, ...] = ()
    """Batch sizes that are captured as CUDA graphs, where shapes are fixed; others run without."""

    def __str__(self) -> str:
        """For a message: "cpu", "cuda:0"."""
        return "cpu" if self.device == "cpu" else f"{self.device}:{self.index}"


ON_CPU = Placement()


class Runtime(Protocol):
    """One loaded artefact. `run` may be called from several threads at once."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def dead_because(self) -> str:
        """Why it will never answer again in this process; "" while it does."""
        ...

    def run(self, batch: Tensors) -> Tensors:
        """Compute one batch: arrays with the batch axis first, by input name, to arrays by output name.

        Raises:
            OutOfMemory: the device's memory does not hold the batch; a smaller one may fit.
            DeviceLost: the device is gone for this process; every later call says so too.
            RuntimeFailed: the engine refused the batch or broke.
        """
        ...


Loader = Callable[[Path, Placement], Runtime]
"""(artefact file or engine, where to run it) -> a loaded artefact."""

RUNTIMES = {
    "onnxruntime": "runtime.ort:OrtRuntime",
    "tensorrt": "runtime.trt:TrtRuntime",
    "fake": "runtime.fake:FakeRuntime",
}
"""Key as manifests and records write it -> "module:class", imported on use."""


def load_runtime(manifest: Manifest, runtime: str, path: Path, placement: Placement = ON_CPU) -> Runtime:
    """Load a file in an engine and hold it to the manifest's tensor specs.

    Raises:
        RuntimeFailed: unknown engine, engine not installed, a device that is not there, or another graph than declared.
    """
    loaded = runtime_class(runtime)(path, placement)
    got, declared = (*loaded.inputs, *loaded.outputs), (*manifest.inputs, *manifest.outputs)
    if len(got) != len(declared) or not all(map(TensorSpec.fits, got, declared)):
        raise RuntimeFailed(
            f"{path}: the graph is {_brief(loaded.inputs)} -> {_brief(loaded.outputs)}, "
            f"the manifest declares {_brief(manifest.inputs)} -> {_brief(manifest.outputs)}"
        )
    return loaded


def _brief(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(map(str, specs))


def runtime_class(key: str) -> Loader:
    """The engine behind a `runtime` key.

    Raises:
        RuntimeFailed: unknown, or not installed.
    """
    try:
        loader: Loader = entry(RUNTIMES, key, "runtime", RuntimeFailed)
    except ImportError as cause:
        extra = "tensorrt" if key == "tensorrt" else "serving"
        raise RuntimeFailed(f"runtime '{key}' cannot be imported: {cause}; pip install 'modelyard[{extra}]'") from cause
    return loader
