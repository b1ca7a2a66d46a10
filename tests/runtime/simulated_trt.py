"""TensorRT over a simulated GPU: a plan is an ONNX file with profiles, run by ONNX Runtime when its stream comes to it.

Stands where the module `tensorrt` does, as far as runtime/trt_api.py says what is used of it. It refuses as TensorRT
does: by False or None, with words in the log. What a context keeps for its shapes is overwritten by the next shapes,
so a captured graph whose context went on to other shapes gives rubbish; a first run in other shapes cannot be captured.
"""

import json
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort

from runtime.trt_api import Modules
from tests.runtime.simulated_cuda import SimulatedCuda
from tests.runtime.simulated_gpu import FRESH, STALE, Fault, SimulatedGpu, Step

MAGIC = b"simulated plan\n"
CONTEXT_BYTES = 256
Range = tuple[Sequence[int], Sequence[int], Sequence[int]]
Profiles = Sequence[Mapping[str, Range]]


class Severity(Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3


class TensorIOMode(Enum):
    INPUT = 1
    OUTPUT = 2


class TensorLocation(Enum):
    DEVICE = 0
    HOST = 1


class ExecutionContextAllocationStrategy(Enum):
    STATIC = 0
    USER_MANAGED = 2


class DataType(Enum):
    """Its values are the names that ONNX Runtime has for them."""

    FLOAT = "tensor(float)"
    HALF = "tensor(float16)"
    INT8 = "tensor(int8)"
    INT32 = "tensor(int32)"
    INT64 = "tensor(int64)"
    BOOL = "tensor(bool)"
    UINT8 = "tensor(uint8)"
    BF16 = "tensor(double)"  # a type that no bundle has

    def numpy(self) -> np.dtype[Any]:
        names = {"FLOAT": "float32", "HALF": "float16", "BF16": "float64"}
        return np.dtype(names.get(self.name, self.name.lower()))


class ILogger:
    Severity = Severity

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


def write_plan(
    path: Path, graph: Path, profiles: Profiles, gpu: str = "simulated", scratch: int = 4096, host: Sequence[str] = ()
) -> Path:
    """Build an engine: `profiles` are input -> (smallest, typical, largest shape)."""
    header = {"gpu": gpu, "profiles": profiles, "scratch": scratch, "host": host}
    path.write_bytes(MAGIC + json.dumps(header).encode() + b"\n" + graph.read_bytes())
    return path


def split_plan(plan: bytes) -> tuple[bytes, bytes]:
    """What stands before the graph, and the graph."""
    end = plan.index(b"\n", len(MAGIC)) + 1
    return plan[:end], plan[end:]


class SimulatedTensorRT:
    """The module."""

    ILogger = ILogger
    TensorIOMode = TensorIOMode
    TensorLocation = TensorLocation
    DataType = DataType
    ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy
    __version__ = "0.simulated"

    def __init__(self, cuda: SimulatedCuda) -> None:
        self.cuda, self.gpu = cuda, cuda.gpu
        self.live = {"engine": 0, "context": 0}
        self.refusals: list[str] = []
        """What the next executions say instead of being queued."""
        self.loads = "simulated"
        """Of which GPU a plan must be."""

    def Runtime(self, logger: ILogger) -> "Runtime":  # noqa: N802
        return Runtime(self, logger)

    def count(self, what: str, change: int) -> None:
        with self.gpu.changed:
            self.live[what] += change


class Runtime:
    def __init__(self, module: SimulatedTensorRT, logger: ILogger) -> None:
        self.module, self.logger = module, logger

    def deserialize_cuda_engine(self, plan: bytes) -> "Engine | None":
        if not plan.startswith(MAGIC):
            return self.refuse("Error Code 1: Serialization (header.magicTag == kEXPECTED_MAGIC_TAG failed.)")
        header, graph = split_plan(plan)
        told = json.loads(header[len(MAGIC) :])
        if told["gpu"] != self.module.loads:
            return self.refuse(f"Error Code 6: The engine plan file was built for another device ({told['gpu']})")
        try:
            weights = self.module.gpu.allocate(self.module.cuda.device, len(graph))
        except Fault:
            return self.refuse(f"Error Code 2: OutOfMemory (Requested size was {len(graph)} bytes.)")
        return Engine(self, told, graph, weights)

    def refuse(self, said: str) -> None:
        self.logger.log(Severity.ERROR, said)


class Engine:
    def __init__(self, runtime: Runtime, told: Mapping[str, Any], graph: bytes, weights: int) -> None:
        self.runtime, self.module, self.gpu = runtime, runtime.module, runtime.module.gpu
        self.device, self._weights = self.module.cuda.device, weights
        self.profiles, self.scratch, self._host = told["profiles"], told["scratch"], told["host"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.inputs = {one.name: one for one in self.session.get_inputs()}
        self.outputs = {one.name: one for one in self.session.get_outputs()}
        self._all = {**self.inputs, **self.outputs}
        self.num_io_tensors, self.num_optimization_profiles = len(self._all), len(self.profiles)
        self.module.count("engine", 1)

    def __del__(self) -> None:
        _drop(self, self._weights, "engine")

    def get_tensor_name(self, index: int) -> str:
        return list(self._all)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType(self._all[name].type)

    def get_tensor_shape(self, name: str) -> list[int]:
        return [size if isinstance(size, int) else -1 for size in self._all[name].shape]

    def get_tensor_location(self, name: str) -> TensorLocation:
        return TensorLocation.HOST if name in self._host else TensorLocation.DEVICE

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[list[int]]:
        return [list(shape) for shape in self.profiles[profile_index].get(name, ())]

    def get_device_memory_size_for_profile_v2(self, profile_index: int) -> int:
        return self.scratch * (profile_index + 1)

    def create_execution_context(self, strategy: ExecutionContextAllocationStrategy) -> "Context | None":
        assert strategy is ExecutionContextAllocationStrategy.USER_MANAGED, "each would hold scratch memory of its own"
        try:
            memory = self.gpu.allocate(self.module.cuda.device, CONTEXT_BYTES)
        except Fault:
            return self.runtime.refuse("Error Code 2: OutOfMemory (no further information)")
        return Context(self, memory)

    def named_sizes(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """Size of each named axis, where the inputs tell it."""
        return {
            axis: size
            for name, shape in shapes.items()
            for axis, size in zip(self.inputs[name].shape, shape, strict=True)
            if isinstance(axis, str)
        }


class Context:
    def __init__(self, engine: Engine, memory: int) -> None:
        self.engine, self.module, self.gpu = engine, engine.module, engine.gpu
        self.device, self._memory = engine.device, memory
        self._profile = 0
        self._shapes = {name: one.shape for name, one in engine.inputs.items() if _is_fixed(one.shape)}
        self._addresses: dict[str, int] = {}
        self._scratch = (0, 0)
        self._kept = SimpleNamespace(shapes=None)
        self.module.count("context", 1)

    def __del__(self) -> None:
        _drop(self, self._memory, "context")

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        if not 0 <= profile_index < self.engine.num_optimization_profiles:
            return self._refuse(f"no profile {profile_index}")
        self._profile = profile_index
        self.gpu.queue(self.gpu.streams[stream_handle], Step("profile", spans=((self._memory, CONTEXT_BYTES),)))
        return True

    def set_device_memory(self, memory: int, size: int) -> None:
        self._scratch = (memory, size)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if name not in self.engine.inputs:
            return self._refuse(f"no input {name}")
        declared = self.engine.inputs[name].shape
        if _is_fixed(declared):
            return list(shape) == declared or self._refuse(f"{name} is static")
        low, _, high = self.engine.profiles[self._profile][name]
        if len(shape) != len(low) or not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
            return self._refuse(f"setInputShape: {name} {shape} is not within {low} to {high}")
        self._shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def get_tensor_shape(self, name: str) -> list[int]:
        sizes = self.engine.named_sizes(self._shapes)
        shape = (self.engine.inputs | self.engine.outputs)[name].shape
        return [size if isinstance(size, int) else sizes.get(size, -1) for size in shape]

    def execute_async_v3(self, stream_handle: int) -> bool:
        stream = self.gpu.streams[stream_handle]
        if self.module.cuda.device != self.device:
            self.gpu.misuse(f"device {self.module.cuda.device} is current for an engine on device {self.device}")
        if self.module.refusals:
            return self._refuse(self.module.refusals.pop(0))
        if self._scratch[1] < self.engine.get_device_memory_size_for_profile_v2(self._profile):
            return self._refuse("the device memory that was set is too small")
        shapes = {name: tuple(self.get_tensor_shape(name)) for name in (*self.engine.inputs, *self.engine.outputs)}
        if any(-1 in shape for shape in shapes.values()) or not all(self._addresses.get(name) for name in shapes):
            return self._refuse("a shape or an address is missing")
        if stream.recording is None:
            self._kept.shapes = shapes
        elif self._kept.shapes != shapes:
            stream.spoilt = True
            return self._refuse("operation would make the legacy stream depend on a capturing blocking stream")
        self.gpu.queue(stream, self._step(shapes))
        return True

    def _step(self, shapes: Mapping[str, tuple[int, ...]]) -> Step:
        """Everything is read from memory when its time comes; nothing here keeps the context alive."""
        engine, gpu, device, kept = self.engine, self.gpu, self.device, self._kept
        spans = {
            name: (self._addresses[name], int(np.prod(shape)) * engine.get_tensor_dtype(name).numpy().itemsize)
            for name, shape in shapes.items()
        }
        own, scratch = (self._memory, CONTEXT_BYTES), self._scratch

        def compute() -> None:
            gpu.memory(device, own)
            gpu.memory(device, scratch)[:] = STALE
            feeds = {
                name: gpu.memory(device, spans[name]).view(engine.get_tensor_dtype(name).numpy()).reshape(shapes[name])
                for name in engine.inputs
            }
            values = engine.session.run(list(engine.outputs), {name: array.copy() for name, array in feeds.items()})
            for name, value in zip(engine.outputs, values, strict=True):
                result = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
                gpu.memory(device, spans[name])[:] = result if kept.shapes == shapes else FRESH

        return Step("compute", compute, (*spans.values(), own, scratch))

    def _refuse(self, said: str) -> bool:
        self.engine.runtime.refuse(f"IExecutionContext: Error Code 3: {said}")
        return False


def _drop(owner: Engine | Context, memory: int, what: str) -> None:
    gpu: SimulatedGpu = owner.gpu
    if owner.module.cuda.device != owner.device:
        gpu.misuse(f"device {owner.module.cuda.device} is current when an object of device {owner.device} goes")
    if owner.device not in gpu.broken:
        gpu.free(owner.device, memory)
    owner.module.count(what, -1)


def _is_fixed(shape: Sequence[int | str]) -> bool:
    return all(isinstance(size, int) for size in shape)


def simulated_modules(gpu: SimulatedGpu | None = None) -> Modules:
    """Both libraries over one simulated machine."""
    cuda = SimulatedCuda(gpu or SimulatedGpu())
    return Modules(SimulatedTensorRT(cuda), cuda)
