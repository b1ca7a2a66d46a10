"""ONNX Runtime: load a model.onnx on the device that was asked for, or refuse.

Knows onnxruntime. Knows nothing of tasks or of batching policy.
"""

from pathlib import Path
from typing import Final

import onnxruntime as ort

from bundle.device import DeviceKind
from bundle.errors import RuntimeFailed
from bundle.tensors import DType, Tensors, TensorSpec
from runtime.runtime import ON_CPU, Placement

PROVIDERS: Final[dict[DeviceKind, str]] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
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

    def __init__(self, path: Path, placement: Placement = ON_CPU) -> None:
        device, threads = placement.device, placement.threads
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = ERRORS_ONLY
        # Threads that share one run meet sooner where they spin (a tenth of a small network's time), but must not go on
        # when it is over: between requests that would burn a core which others need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads > 1 else "0")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # The arena keeps what the largest batch ever took, for ever and in each session; on a CPU it gains no time.
        options.enable_cpu_mem_arena = False
        provider = PROVIDERS[device]
        if provider not in ort.get_available_providers():
            raise RuntimeFailed(
                f"device '{device}' needs {provider}, but this onnxruntime has {ort.get_available_providers()}; "
                "install 'modelyard[gpu]' in place of 'modelyard[serving]', or choose device 'cpu'"
            )
        try:
            self._session = ort.InferenceSession(path, options, providers=[provider])
        except Exception as cause:  # noqa: BLE001 - onnxruntime's exceptions share no base but Exception
            raise RuntimeFailed(f"{path}: onnxruntime cannot load it on '{device}': {cause}") from None
        got = self._session.get_providers()
        if got[0] != provider:  # onnxruntime falls back to the CPU without raising
            raise RuntimeFailed(
                f"{path}: asked for {provider} and got {got}: its libraries or the driver are missing; "
                "see the messages of onnxruntime above"
            )
        self.inputs = tuple(_spec(argument) for argument in self._session.get_inputs())
        self.outputs = tuple(_spec(argument) for argument in self._session.get_outputs())
        self._output_names = [spec.name for spec in self.outputs]

    def run(self, batch: Tensors) -> Tensors:
        """Compute one batch.

        Raises:
            RuntimeFailed: the engine refused the batch or broke; its own words are in the message.
        """
        try:
            values = self._session.run(self._output_names, batch)
        except Exception as cause:
            raise RuntimeFailed(f"onnxruntime failed on {_brief(batch)}: {cause}") from cause
        return dict(zip(self._output_names, values, strict=True))


def _spec(argument: ort.NodeArg) -> TensorSpec:
    if argument.type not in DTYPES:
        raise RuntimeFailed(f"tensor '{argument.name}' has type {argument.type}; supported are {', '.join(DTYPES)}")
    if None in argument.shape:
        raise RuntimeFailed(
            f"tensor '{argument.name}' has shape {argument.shape}: an axis without size or name; name it when exporting"
        )
    return TensorSpec(name=argument.name, dtype=DTYPES[argument.type], shape=tuple(argument.shape))


def _brief(batch: Tensors) -> str:
    return ", ".join(f"{name}: {array.dtype} {list(array.shape)}" for name, array in batch.items())
