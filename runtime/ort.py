"""ONNX Runtime: load a model.onnx on the device that was asked for, or refuse.

Knows onnxruntime and how it computes on a CPU; what only a GPU needs is in runtime/ort_cuda.py. Knows nothing of tasks
or of batching policy.
"""

from pathlib import Path
from typing import Any, Final, Protocol

import onnxruntime as ort

from bundle.errors import DeviceLost, RuntimeFailed
from bundle.tensors import DType, Tensors, TensorSpec, brief
from runtime.device_errors import failure
from runtime.runtime import ON_CPU, Placement

DTYPES: Final[dict[str, DType]] = {
    "tensor(bool)": "bool",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
}
ERRORS_ONLY = 3  # ONNX Runtime's log severity: what matters is raised, and its warnings speak to its developers


class OrtRuntime:
    """One ONNX graph in one session; the session is thread-safe and releases the GIL while it computes."""

    dead_because: str
    """Why no run will ever succeed again; empty while it lives."""

    def __init__(self, path: Path, placement: Placement = ON_CPU) -> None:
        self.dead_because = ""
        self._placement = placement
        self._on: On
        if placement.device == "cpu":
            self._on = OnCpu(path, placement)
        else:
            from runtime.ort_cuda import OnGpu  # on use: a CPU needs nothing of it

            self._on = OnGpu(path, placement)
        self.inputs, self.outputs = specs_of(self._on.session)

    def run(self, batch: Tensors) -> Tensors:
        """Compute one batch.

        Raises:
            OutOfMemory: the device's memory does not hold the batch; the next one may be computed.
            DeviceLost: the device is gone for this process; `dead_because` says why, as does every later run.
            RuntimeFailed: the engine refused the batch or broke; its own words are in the message.
        """
        if self.dead_because:
            raise DeviceLost(f"{self._placement} is lost to this process: {self.dead_because}")
        try:
            return self._on.run(batch)
        except Exception as cause:
            raise self._failure(batch, cause) from cause

    def _failure(self, batch: Tensors, cause: Exception) -> RuntimeFailed:
        failed = failure(f"onnxruntime failed on {brief(batch)}", cause)
        if self._on.lost and not isinstance(failed, DeviceLost):  # "execution failed" may be its last word, or not
            failed = DeviceLost(f"{failed}; {self._on.lost}")
        if isinstance(failed, DeviceLost) and not self.dead_because:
            self.dead_because = str(failed)
        return failed


class On(Protocol):
    """A session where it computes."""

    @property
    def session(self) -> Any:
        """ONNX Runtime's."""
        ...

    @property
    def lost(self) -> str:
        """Why the device never answers again; empty while it does."""
        ...

    def run(self, batch: Tensors) -> Tensors:
        """Compute one batch; whatever the engine raises comes as it is."""
        ...


class OnCpu:
    """A session on the CPU."""

    lost = ""

    def __init__(self, path: Path, placement: Placement) -> None:
        self.session = open_session(path, placement, "CPUExecutionProvider", {})
        self._names = [argument.name for argument in self.session.get_outputs()]

    def run(self, batch: Tensors) -> Tensors:
        """Compute one batch."""
        return dict(zip(self._names, self.session.run(self._names, batch), strict=True))


def open_session(path: Path, placement: Placement, provider: str, provider_options: dict[str, str]) -> Any:
    """A session on one provider.

    Raises:
        RuntimeFailed: this onnxruntime has no such provider, or cannot load the file on it.
    """
    require_provider(provider, placement)
    options = ort.SessionOptions()
    options.intra_op_num_threads = placement.threads
    options.log_severity_level = ERRORS_ONLY
    # Threads that share one run meet sooner where they spin (a tenth of a small network's time), but must not go on
    # when it is over: between requests that would burn a core which others need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if placement.threads > 1 else "0")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # What runs where: runtime/ort_cuda.py asks. (`session.disable_cpu_ep_fallback` would also refuse the nodes that
    # compute shapes, which CUDA's provider leaves to the CPU on purpose.)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    # The arena keeps what the largest batch ever took, for ever and in each session; on a CPU it gains no time.
    options.enable_cpu_mem_arena = False
    try:  # with its fallback, onnxruntime would print a banner and go on with the CPU, here and in any run
        return ort.InferenceSession(path, options, providers=[(provider, provider_options)], enable_fallback=0)
    except Exception as cause:  # noqa: BLE001 - onnxruntime's exceptions share no base but Exception
        raise failure(f"{path}: onnxruntime cannot load it on '{placement}'", cause) from None


def require_provider(provider: str, placement: Placement) -> None:
    """Refuse where this onnxruntime was not built with a provider.

    Raises:
        RuntimeFailed: it was not.
    """
    if provider not in ort.get_available_providers():
        raise RuntimeFailed(
            f"device '{placement.device}' needs {provider}, but this onnxruntime has {ort.get_available_providers()}; "
            "install 'modelyard[gpu]' in place of 'modelyard[serving]', or choose device 'cpu'"
        )


def specs_of(session: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The inputs and the outputs of a session's graph.

    Raises:
        RuntimeFailed: a type that no bundle has, or an axis without a name.
    """
    return tuple(map(_spec, session.get_inputs())), tuple(map(_spec, session.get_outputs()))


def _spec(argument: ort.NodeArg) -> TensorSpec:
    if argument.type not in DTYPES:
        raise RuntimeFailed(f"tensor '{argument.name}' has type {argument.type}; supported are {', '.join(DTYPES)}")
    if None in argument.shape:
        raise RuntimeFailed(
            f"tensor '{argument.name}' has shape {argument.shape}: an axis without size or name; name it when exporting"
        )
    return TensorSpec(name=argument.name, dtype=DTYPES[argument.type], shape=tuple(argument.shape))
