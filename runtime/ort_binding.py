"""Batches through one ONNX Runtime session by I/O binding: memory that stays, a set of it for each batch on its way.

A slot holds host memory (pinned, where a GPU copies from it), device memory, and one binding over the latter. A batch
takes a free slot or waits for one: it is copied in, computed and copied out, so the next one is copied while it
computes. Outputs whose size the inputs tell have memory too; the others ONNX Runtime allocates in each run. Arrays that
leave belong to the caller. Knows ONNX Runtime's bindings. Knows nothing of CUDA: memory and the way to compute are
given to it, so that a CPU session runs the same code.
"""

from collections.abc import Callable, Sequence
from math import prod
from queue import LifoQueue
from typing import Protocol

import numpy as np
import onnxruntime as ort

from bundle.errors import RuntimeFailed
from bundle.tensors import Array, Tensors, TensorSpec

GRAPH_ID = "gpu_graph_id"
NO_GRAPH = -1
"""The id of a run that is neither captured nor replayed; ONNX Runtime's own number."""

Specs = tuple[TensorSpec, ...]
Compute = Callable[[ort.IOBinding, ort.RunOptions], None]
"""Run what is bound; returns when the outputs are there."""


class Block(Protocol):
    """Memory on the device, given back with the last reference to it."""

    @property
    def address(self) -> int:
        """Where it is, for ONNX Runtime."""
        ...


class Memory(Protocol):
    """Memory of one device and a queue of copies to and from it; one thread at a time uses it."""

    device: str
    """As ONNX Runtime calls it: "cuda", "cpu"."""
    index: int

    def host(self, num_bytes: int) -> Array:
        """Bytes that the device copies from and to without a detour."""
        ...

    def on_device(self, num_bytes: int) -> Block:
        """Bytes on the device."""
        ...

    def upload(self, source: Array, address: int) -> None:
        """Queue a copy to the device."""
        ...

    def download(self, address: int, target: Array) -> None:
        """Queue a copy from the device."""
        ...

    def wait(self) -> None:
        """Return when all queued copies are done."""
        ...


class Buffer:
    """Room for one tensor at both ends; it grows to the largest that ever came."""

    def __init__(self, memory: Memory, dtype: str) -> None:
        self._memory = memory
        self._dtype = np.dtype(dtype)
        self._bytes: Array = np.empty(0, np.uint8)
        self._block: Block | None = None
        self.array: Array = self._bytes

    @property
    def address(self) -> int:
        """Where the tensor is on the device."""
        return self._block.address if self._block else 0

    def fit_host(self, shape: Sequence[int]) -> None:
        """Make `array` a view of this shape on the host's end."""
        num_bytes = prod(shape) * self._dtype.itemsize
        if num_bytes > len(self._bytes):
            self.array = self._bytes = np.empty(0, np.uint8)  # what is too small goes before more is asked for
            self._block = None
            self._bytes = self._memory.host(num_bytes)
        self.array = self._bytes[:num_bytes].view(self._dtype).reshape(shape)

    def fit(self, shape: Sequence[int]) -> None:
        """The same, and have as much on the device."""
        self.fit_host(shape)
        if self._block is None:
            self._block = self._memory.on_device(max(len(self._bytes), 1))


class Bound:
    """Buffers for every tensor and a binding over them, for one batch at a time."""

    def __init__(
        self, session: ort.InferenceSession, memory: Memory, inputs: Specs, outputs: Specs, graph_id: int = NO_GRAPH
    ) -> None:
        self._binding = session.io_binding()
        self._memory = memory
        self._inputs, self._outputs = inputs, outputs
        self._graph_id = graph_id
        self._options = ort.RunOptions()
        self._options.add_run_config_entry(GRAPH_ID, str(graph_id))
        self._forget()

    def _forget(self) -> None:
        self._binding.clear_binding_inputs()
        self._binding.clear_binding_outputs()
        self._buffers = {spec.name: Buffer(self._memory, spec.dtype) for spec in (*self._inputs, *self._outputs)}
        self._shapes: list[tuple[int, ...]] = []
        self._unknown: set[str] = set()

    def run(self, batch: Tensors, compute: Compute) -> Tensors:
        """Copy a batch in, compute it, and give copies of the outputs."""
        try:
            return self._run(batch, compute)
        except BaseException:
            if self._graph_id == NO_GRAPH:  # a captured graph goes on using its addresses
                self._forget()  # gives its memory back: perhaps there was too little
            raise

    def _run(self, batch: Tensors, compute: Compute) -> Tensors:
        shapes = [batch[spec.name].shape for spec in self._inputs]
        if shapes != self._shapes:
            self._bind(batch)
            self._shapes = shapes
        for spec in self._inputs:
            buffer = self._buffers[spec.name]
            np.copyto(buffer.array, batch[spec.name])
            self._memory.upload(buffer.array, buffer.address)
        for name in self._unknown:  # anew for each run: the last one's memory has the last one's size
            self._leave_open(name)
        self._memory.wait()
        compute(self._binding, self._options)
        return self._taken()

    def _bind(self, batch: Tensors) -> None:
        sizes = axis_sizes(self._inputs, batch)
        self._unknown.clear()
        for spec in self._inputs:
            self._bind_one(self._binding.bind_input, spec, batch[spec.name].shape)
        for spec in self._outputs:  # in this order: it is the one in which they are given
            shape = shape_of(spec, sizes)
            if shape is None:
                self._unknown.add(spec.name)
                self._leave_open(spec.name)
            else:
                self._bind_one(self._binding.bind_output, spec, shape)

    def _bind_one(self, bind: Callable[..., None], spec: TensorSpec, shape: tuple[int, ...]) -> None:
        buffer = self._buffers[spec.name]
        buffer.fit(shape)
        bind(spec.name, self._memory.device, self._memory.index, np.dtype(spec.dtype), shape, buffer.address)

    def _leave_open(self, name: str) -> None:
        self._binding.bind_output(name, self._memory.device, self._memory.index)

    def _taken(self) -> Tensors:
        found = dict(zip((spec.name for spec in self._outputs), self._binding.get_outputs(), strict=True))
        for name, buffer in ((name, self._buffers[name]) for name in found):
            address = buffer.address
            if name in self._unknown:
                buffer.fit_host(found[name].shape())
                address = found[name].data_ptr()
            self._memory.download(address, buffer.array)
        self._memory.wait()
        return {name: self._buffers[name].array.copy() for name in found}


class Slots:
    """All slots of a session; a batch that finds none free waits."""

    def __init__(
        self,
        session: ort.InferenceSession,
        memories: Sequence[Memory],
        inputs: Specs,
        outputs: Specs,
        compute: Compute | None = None,
    ) -> None:
        self._session = session
        self._inputs, self._outputs = inputs, outputs
        self._compute: Compute = compute or session.run_with_iobinding
        self._memories = memories
        self._bound = [Bound(session, memory, inputs, outputs) for memory in memories]
        self._captured: list[dict[int, Bound]] = [{} for _ in memories]
        self._free: LifoQueue[int] = LifoQueue()  # the last one used has its memory warm
        for number in range(len(memories)):
            self._free.put(number)

    def run(self, batch: Tensors) -> Tensors:
        """Compute one batch; by its captured graph, where its size has one.

        Raises:
            RuntimeFailed: the batch is not what the graph takes. Whatever the engine raises comes as it is.
        """
        self._check(batch)
        number = self._free.get()
        try:
            bound = self._captured[number].get(len(batch[self._inputs[0].name]), self._bound[number])
            return bound.run(batch, self._compute)
        finally:
            self._free.put(number)

    def _check(self, batch: Tensors) -> None:
        if batch.keys() != {spec.name for spec in self._inputs}:
            raise RuntimeFailed(f"its inputs are {_names(batch)}, the graph takes {', '.join(map(str, self._inputs))}")
        for spec in self._inputs:
            problem = spec.mismatch(batch[spec.name])
            if problem:
                raise RuntimeFailed(problem)

    def capture(self, batch_sizes: Sequence[int]) -> None:
        """Capture a graph of each size in every slot, and hold its replay to a run without one; before any `run`.

        Raises:
            RuntimeFailed: a replay gave other answers. Whatever the engine raises comes as it is.
        """
        graph_ids = iter(range(1, len(batch_sizes) * len(self._memories) + 1))
        for memory, plain, captured in zip(self._memories, self._bound, self._captured, strict=True):
            for num_rows in batch_sizes:
                bound = Bound(self._session, memory, self._inputs, self._outputs, next(graph_ids))
                bound.run(_filled(self._inputs, num_rows, 0), self._compute)  # ONNX Runtime warms up and captures here
                ones = _filled(self._inputs, num_rows, 1)
                _hold_to(plain.run(ones, self._compute), bound.run(ones, self._compute), num_rows)
                captured[num_rows] = bound


def can_capture(inputs: Specs, outputs: Specs) -> bool:
    """Whether nothing but the batch has a size of its own, and every output has the batch's."""
    batch_axes = {spec.shape[0] for spec in (*inputs, *outputs) if spec.shape}
    rest = [size for spec in (*inputs, *outputs) for size in spec.shape[1:]]
    return len(batch_axes) == 1 and all(spec.shape for spec in inputs) and all(isinstance(size, int) for size in rest)


def axis_sizes(inputs: Specs, batch: Tensors) -> dict[str, int]:
    """Axis name -> its size in this batch.

    Raises:
        RuntimeFailed: one axis has two sizes.
    """
    sizes: dict[str, int] = {}
    for spec in inputs:
        for axis, size in zip(spec.shape, batch[spec.name].shape, strict=True):
            if isinstance(axis, str) and sizes.setdefault(axis, size) != size:
                raise RuntimeFailed(f"axis '{axis}' is {size} in '{spec.name}' and {sizes[axis]} in another input")
    return sizes


def shape_of(spec: TensorSpec, sizes: dict[str, int]) -> tuple[int, ...] | None:
    """The shape of an output, or None where the inputs do not tell it."""
    shape = [sizes.get(axis, -1) if isinstance(axis, str) else axis for axis in spec.shape]
    return None if -1 in shape else tuple(shape)


def _filled(inputs: Specs, num_rows: int, value: int) -> Tensors:
    return {spec.name: np.full((num_rows, *spec.shape[1:]), value, spec.dtype) for spec in inputs}  # type: ignore[arg-type]


def _hold_to(plain: Tensors, replayed: Tensors, num_rows: int) -> None:
    for name, expected in plain.items():
        if not np.allclose(expected, replayed[name], rtol=1e-2, atol=1e-3, equal_nan=True):
            raise RuntimeFailed(f"the captured graph for {num_rows} rows gives another '{name}' than a run without it")


def _names(batch: Tensors) -> str:
    return ", ".join(f"'{name}'" for name in batch) or "none"
