"""A TensorRT plan, loaded: its tensors, the shapes it was built for, and execution contexts on demand.

Knows TensorRT's engines. Knows nothing of streams, of memory other than an engine's own, or of who computes what when.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from bundle.errors import RuntimeFailed
from bundle.tensors import DType, Tensors, TensorSpec, misfit
from runtime.trt_api import ApiEngine, Context, messages_of

Shape = tuple[int, ...]
Shapes = dict[str, Shape]

DTYPES: dict[str, DType] = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "HALF": "float16",
    "FLOAT": "float32",
}
"""Name of a TensorRT DataType -> ours, which numpy knows by the same name."""


@dataclass(frozen=True)
class Profile:
    """One range of shapes that the engine has kernels for."""

    index: int
    smallest: Mapping[str, Shape]
    typical: Mapping[str, Shape]
    largest: Mapping[str, Shape]

    def volume(self) -> int:
        """Numbers in its largest inputs."""
        return sum(prod(shape) for shape in self.largest.values())

    def holds(self, name: str, shape: Shape) -> bool:
        """Whether an input may have this shape here."""
        low, high = self.smallest[name], self.largest[name]
        return all(least <= size <= most for least, size, most in zip(low, shape, high, strict=True))


class Engine:
    """One plan on the current device. It holds the weights; what a batch needs is the contexts' own."""

    def __init__(self, trt: Any, path: Path) -> None:
        self._trt = trt
        self.messages = messages_of(trt)
        self._path = path
        self._runtime: Any = None
        self._engine: ApiEngine = self._load()
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        modes = {name: self._engine.get_tensor_mode(name) for name in names}
        self.inputs = tuple(self._spec(name) for name in names if modes[name] == trt.TensorIOMode.INPUT)
        self.outputs = tuple(self._spec(name) for name in names if modes[name] == trt.TensorIOMode.OUTPUT)
        profiles = (self._profile(i) for i in range(self._engine.num_optimization_profiles))
        self.profiles = tuple(sorted(profiles, key=Profile.volume))
        """The narrowest first: its kernels were chosen for the fewest shapes."""
        self.fixed = all(isinstance(size, int) for spec in self.inputs for size in spec.shape[1:])
        """Whether shapes differ in the number of rows only."""

    def _load(self) -> ApiEngine:
        try:
            plan = self._path.read_bytes()
        except OSError as cause:
            raise RuntimeFailed(f"{self._path}: cannot be read: {cause.strerror}") from None
        self.messages.forget()
        try:
            self._runtime = self._trt.Runtime(self.messages.logger)
            engine: ApiEngine | None = self._runtime.deserialize_cuda_engine(plan)
        except (RuntimeError, TypeError) as cause:  # how pybind11 tells that the library gave nothing
            raise self.messages.refusal(f"{self._path}: TensorRT does not start: {cause}") from cause
        if engine is None:
            version = getattr(self._trt, "__version__", "?")
            raise self.messages.refusal(
                f"{self._path}: TensorRT {version} cannot load it: it is no plan, or was built for another GPU or "
                "another version; run `modelyard build-engine` on this machine"
            )
        return engine

    def _spec(self, name: str) -> TensorSpec:
        engine, dtype = self._engine, self._engine.get_tensor_dtype(name).name
        if dtype not in DTYPES:
            raise RuntimeFailed(f"{self._path}: tensor '{name}' has type {dtype}; supported are {', '.join(DTYPES)}")
        if engine.get_tensor_location(name) != self._trt.TensorLocation.DEVICE:
            raise RuntimeFailed(
                f"{self._path}: tensor '{name}' is a shape that TensorRT reads on the host; export the graph so that "
                "it takes shapes from its tensors"
            )
        shape = tuple(size if size >= 0 else "?" for size in engine.get_tensor_shape(name))
        return TensorSpec(name=name, dtype=DTYPES[dtype], shape=shape)

    def _profile(self, index: int) -> Profile:
        ranges = {spec.name: self._range(spec, index) for spec in self.inputs}
        return Profile(index, *({name: shapes[i] for name, shapes in ranges.items()} for i in range(3)))

    def _range(self, spec: TensorSpec, index: int) -> tuple[Shape, Shape, Shape]:
        sizes = tuple(size for size in spec.shape if isinstance(size, int))
        if len(sizes) == len(spec.shape):
            return sizes, sizes, sizes  # nothing to choose, and TensorRT has no answer for such an input
        low, typical, high = (tuple(shape) for shape in self._engine.get_tensor_profile_shape(spec.name, index))
        return low, typical, high

    def scratch_bytes(self) -> int:
        """Memory for what is between the layers of one batch, whatever its profile."""
        sizes = (self._engine.get_device_memory_size_for_profile_v2(one.index) for one in self.profiles)
        return max(sizes)

    def context(self, profile: Profile, stream: int, scratch: tuple[int, int]) -> Context:
        """A new execution context for one profile; `scratch` is (address, bytes), and only one context uses it at once.

        Raises:
            OutOfMemory: the device's memory does not hold what it keeps for itself.
            RuntimeFailed: TensorRT made none.
        """
        self.messages.forget()
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(strategy)
        if context is None:
            raise self.messages.refusal(f"{self._path}: no execution context")
        if not context.set_optimization_profile_async(profile.index, stream):
            raise self.messages.refusal(f"{self._path}: profile {profile.index} cannot be chosen")
        context.set_device_memory(*scratch)
        return context

    def shape_context(self, context: Context, shapes: Mapping[str, Shape]) -> Shapes:
        """Set the shapes of the inputs; returns those of the outputs.

        Raises:
            RuntimeFailed: TensorRT refuses them, or an output's size depends on values.
        """
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise self.messages.refusal(f"input '{name}' cannot have shape {list(shape)}")
        outputs = {spec.name: tuple(context.get_tensor_shape(spec.name)) for spec in self.outputs}
        for name, shape in outputs.items():
            if any(size < 0 for size in shape):
                raise self.messages.refusal(
                    f"output '{name}' has shape {list(shape)}: its size depends on values, which is not supported; "
                    "export it with a fixed number of rows and a count"
                )
        return outputs

    def check(self, batch: Tensors) -> Profile:
        """The profile for a batch.

        Raises:
            RuntimeFailed: a tensor is missing, unknown, or of another type or shape than the engine was built for.
        """
        problem = misfit(batch, self.inputs)
        if problem:
            raise RuntimeFailed(problem)
        return self.profile_for({name: array.shape for name, array in batch.items()})

    def profile_for(self, shapes: Mapping[str, Shape]) -> Profile:
        """The narrowest profile that holds these shapes.

        Raises:
            RuntimeFailed: the engine was built for none such; the message says for which it was.
        """
        for profile in self.profiles:
            if all(profile.holds(name, shape) for name, shape in shapes.items()):
                return profile
        for name, shape in shapes.items():
            if not any(profile.holds(name, shape) for profile in self.profiles):
                ranges = "; ".join(f"{list(one.smallest[name])} to {list(one.largest[name])}" for one in self.profiles)
                raise RuntimeFailed(f"tensor '{name}' has shape {list(shape)}, the engine was built for {ranges}")
        raise RuntimeFailed(f"no profile of the engine holds {dict(shapes)} together")

    def free(self) -> None:
        """Drop the engine, then what made it; every context must be gone."""
        del self._engine
        self._runtime = None
