"""The form of an inference engine, the table of all of them, and how one is loaded.

Knows tensors and artefact files. Knows nothing of tasks, preprocessing or queues.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

from bundle.errors import RuntimeFailed
from bundle.store import Bundle
from bundle.tables import entry
from bundle.tensors import Tensors, TensorSpec

Device = Literal["cpu", "cuda"]


class Runtime(Protocol):
    """One loaded artefact. `run` may be called from several threads at once."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, batch: Tensors) -> Tensors:
        """Compute one batch: arrays with the batch axis first, by input name, to arrays by output name.

        Raises:
            RuntimeFailed: the engine refused the batch or broke.
        """
        ...


Loader = Callable[[Path, Device, int], Runtime]
"""(artefact file, device, threads) -> a loaded artefact."""

RUNTIMES = {
    "onnxruntime": "runtime.ort:OrtRuntime",
    "fake": "runtime.fake:FakeRuntime",
}
"""Key as the manifest writes it -> "module:class", imported on use."""


def load_runtime(bundle: Bundle, artefact_name: str, device: Device = "cpu", threads: int = 1) -> Runtime:
    """Load one artefact of a bundle and hold it to the manifest's tensor specs.

    Raises:
        RuntimeFailed: unknown engine, engine not installed, a device that is not there, or another graph than declared.
    """
    artefact = bundle.manifest.artefacts[artefact_name]
    runtime = runtime_class(artefact.runtime)(bundle.path(artefact), device, threads)
    declared = (bundle.manifest.inputs, bundle.manifest.outputs)
    if (runtime.inputs, runtime.outputs) != declared:
        raise RuntimeFailed(
            f"{bundle.path(artefact)}: the graph is {_brief(runtime.inputs)} -> {_brief(runtime.outputs)}, "
            f"the manifest declares {_brief(declared[0])} -> {_brief(declared[1])}"
        )
    return runtime


def _brief(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(map(str, specs))


def runtime_class(key: str) -> Loader:
    """The engine behind a manifest's `runtime` key.

    Raises:
        RuntimeFailed: unknown, or not installed.
    """
    try:
        loader: Loader = entry(RUNTIMES, key, "runtime", RuntimeFailed)
    except ImportError as cause:
        raise RuntimeFailed(f"runtime '{key}' cannot be imported: {cause}; pip install 'modelyard[serving]'") from cause
    return loader
