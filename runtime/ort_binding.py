"""Batches through one ONNX Runtime session by I/O binding: memory that stays, a set of it for each batch on its way.

A slot holds pinned memory, memory of the GPU, a binding over the latter and a stream for copies. A batch takes a free
slot or waits for one: it is copied in, computed and copied out, so the next one is copied while it computes. Outputs
whose size the inputs tell have memory too; the others ONNX Runtime allocates in each run. Arrays that leave belong to
the caller. Knows ONNX Runtime's bindings and CUDA's memory. Knows nothing of providers: how a batch is
computed is given to it, and where, so that a CPU session over a simulated GPU runs the same code.
"""

import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from math import prod
from queue import LifoQueue

import numpy as np
import onnxruntime as ort

from bundle.errors import RuntimeFailed
from bundle.tensors import Array, Tensors, TensorSpec, misfit
from runtime.cuda import Gpu
from runtime.cuda_streams import DeviceMemory, PinnedMemory, Stream

GRAPH_ID = "gpu_graph_id"
NO_GRAPH = -1
"""The id of a run that is neither captured nor replayed; ONNX Runtime's own number."""

Specs = tuple[TensorSpec, ...]
Compute = Callable[[ort.IOBinding, ort.RunOptions], None]
"""Run what is bound; returns when the outputs are there."""


class Buffer:
    """Room for one tensor at both ends; it grows to the largest that ever came."""

    def __init__(self, gpu: Gpu, dtype: str) -> None:
        self._dtype = dtype
        self.host, self.device = PinnedMemory(gpu), DeviceMemory(gpu)
        self.array: Array = np.empty(0, dtype)

    def fit_host(self, shape: Sequence[int]) -> None:
        """Make `array` a view of this shape on the host's end."""
        self.array = self.array[:0]  # what it shows may go
        self.host.reserve(prod(shape) * np.dtype(self._dtype).itemsize)
        self.array = self.host.view(tuple(shape), self._dtype)

    def fit(self, shape: Sequence[int]) -> None:
        """The same, and have as much on the device."""
        self.fit_host(shape)
        self.device.reserve(self.array.nbytes)

    def free(self) -> None:
        """Give all of it back."""
        self.array = np.empty(0, self._dtype)
        self.device.free()
        self.host.free()


class Lent(DeviceMemory):
    """What ONNX Runtime allocated in a run; it frees it."""

    def __init__(self, gpu: Gpu, address: int, num_bytes: int) -> None:
        super().__init__(gpu)
        self.address, self.num_bytes = address, num_bytes


class Slot:
    """Buffers for every tensor and a binding over them, for one batch at a time."""

    def __init__(self, slots: "Slots", stream: Stream, graph_id: int = NO_GRAPH) -> None:
        self._gpu, self._device = slots.gpu, slots.device
        self._inputs, self._outputs = slots.inputs, slots.outputs
        self._stream = stream
        self._compute = slots.compute
        self._binding = slots.session.io_binding()
        self._graph_id = graph_id
        self._options = ort.RunOptions()
        self._options.add_run_config_entry(GRAPH_ID, str(graph_id))
        specs = (*self._inputs, *self._outputs)
        self._buffers = {spec.name: Buffer(self._gpu, spec.dtype) for spec in specs}
        for buffer in self._buffers.values():
            slots.freeing.callback(buffer.free)
        self._shapes: list[tuple[int, ...]] = []
        self._unknown: set[str] = set()

    def run(self, batch: Tensors) -> Tensors:
        """Copy a batch in, compute it, and give copies of the outputs."""
        try:
            return self._run(batch)
        except BaseException:
            with suppress(RuntimeFailed):  # this one's cause came before; a lost device is noted by it
                self._stream.wait()  # memory that is still copied cannot be freed
            if self._graph_id == NO_GRAPH:  # a captured graph goes on using its addresses
                self._forget()  # perhaps there was too little memory
            raise

    def _forget(self) -> None:
        self._binding.clear_binding_inputs()
        self._binding.clear_binding_outputs()
        self._shapes = []
        for buffer in self._buffers.values():
            buffer.free()

    def _run(self, batch: Tensors) -> Tensors:
        shapes = [batch[spec.name].shape for spec in self._inputs]
        if shapes != self._shapes:
            self._bind(batch)
            self._shapes = shapes
        for spec in self._inputs:
            buffer = self._buffers[spec.name]
            np.copyto(buffer.array, batch[spec.name])
            self._stream.copy_in(buffer.device, buffer.host, buffer.array.nbytes)
        for name in self._unknown:  # anew for each run: the last one's memory has the last one's size
            self._leave_open(name)
        self._stream.wait()
        self._compute(self._binding, self._options)
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
        bind(spec.name, self._device, self._gpu.index, np.dtype(spec.dtype), shape, buffer.device.address)

    def _leave_open(self, name: str) -> None:
        self._binding.bind_output(name, self._device, self._gpu.index)

    def _taken(self) -> Tensors:
        found = dict(zip((spec.name for spec in self._outputs), self._binding.get_outputs(), strict=True))
        for name, value in found.items():
            buffer = self._buffers[name]
            source = buffer.device
            if name in self._unknown:
                buffer.fit_host(value.shape())
                source = Lent(self._gpu, value.data_ptr(), buffer.array.nbytes)
            self._stream.copy_out(buffer.host, source, buffer.array.nbytes)
        self._stream.wait()
        return {name: self._buffers[name].array.copy() for name in found}


class Slots:
    """All slots of a session; a batch that finds none free waits."""

    def __init__(
        self,
        session: ort.InferenceSession,
        gpu: Gpu,
        specs: tuple[Specs, Specs],
        num_slots: int,
        compute: Compute | None = None,
        device: str = "cuda",
    ) -> None:
        self.session = session
        self.gpu = gpu
        self.device = device
        """Where ONNX Runtime takes the memory to be."""
        self.inputs, self.outputs = specs
        self.compute: Compute = compute or session.run_with_iobinding
        self.freeing = ExitStack()
        weakref.finalize(self, gpu.free, self.freeing)
        gpu.use()
        self._streams = [Stream(gpu) for _ in range(num_slots)]
        for stream in self._streams:
            self.freeing.callback(stream.free)
        self._plain = [Slot(self, stream) for stream in self._streams]
        self._captured: list[dict[int, Slot]] = [{} for _ in self._streams]
        self._free: LifoQueue[int] = LifoQueue()  # the last one used has its memory warm
        for number in range(num_slots):
            self._free.put(number)

    def run(self, batch: Tensors) -> Tensors:
        """Compute one batch; by its captured graph, where its size has one.

        Raises:
            RuntimeFailed: the batch is not what the graph takes, or CUDA failed. Whatever ONNX Runtime raises comes as
                it is.
        """
        self._check(batch)
        number = self._free.get()
        try:
            self.gpu.use()
            return self._captured[number].get(_num_rows(self.inputs, batch), self._plain[number]).run(batch)
        finally:
            self._free.put(number)

    def _check(self, batch: Tensors) -> None:
        problem = misfit(batch, self.inputs)
        if problem:
            raise RuntimeFailed(problem)

    def capture(self, batch_sizes: Sequence[int]) -> None:
        """Capture a graph of each size in every slot, and hold its replay to a run without one; before any `run`.

        Raises:
            RuntimeFailed: a replay gave other answers, or CUDA failed. Whatever ONNX Runtime raises comes as it is.
        """
        self.gpu.use()
        graph_ids = iter(range(1, len(batch_sizes) * len(self._streams) + 1))
        for stream, plain, captured in zip(self._streams, self._plain, self._captured, strict=True):
            for num_rows in batch_sizes:
                slot = Slot(self, stream, next(graph_ids))
                slot.run(_filled(self.inputs, num_rows, 0))  # ONNX Runtime warms up and captures here
                ones = _filled(self.inputs, num_rows, 1)
                _hold_to(plain.run(ones), slot.run(ones), num_rows)
                captured[num_rows] = slot


def _num_rows(inputs: Specs, batch: Tensors) -> int:
    shape = batch[inputs[0].name].shape
    return shape[0] if shape else 0


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
