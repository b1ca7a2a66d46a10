"""One batch on its way through a GPU: a stream, execution contexts, and memory on both sides of the bus.

    rows -> pinned memory -> device memory -> engine -> device memory -> pinned memory -> arrays of the caller
            `---------------- queued on the slot's own stream, or one captured graph ----------------'

A slot has one user at a time, and whatever happens in `run`, its stream is idle again when it returns.

Knows CUDA's streams and the engine. Knows nothing of who gets which slot.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from math import prod
from typing import NamedTuple

import numpy as np

from bundle.errors import DeviceLost, RuntimeFailed
from bundle.tensors import Array, Tensors
from runtime.cuda import Gpu
from runtime.cuda_streams import DeviceMemory, Graph, PinnedMemory, Stream
from runtime.trt_api import Context
from runtime.trt_engine import Engine, Profile, Shape, Shapes

log = logging.getLogger("modelyard.runtime")

ShapeKey = tuple[Shape, ...]


class Captured(NamedTuple):
    """The way of a batch of one size, as a graph."""

    graph: Graph
    context: Context
    """Its own: what a context keeps for its shapes is part of the graph. (NVIDIA: one context per captured graph.)"""
    outputs: Shapes


class Slot:
    """What one batch needs. What it allocates it registers with `freeing`, last in, first out."""

    def __init__(self, gpu: Gpu, engine: Engine, freeing: ExitStack) -> None:
        self._gpu, self._engine = gpu, engine
        self._specs = {spec.name: spec for spec in (*engine.inputs, *engine.outputs)}
        self._stream = Stream(gpu)
        freeing.callback(self._stream.free)
        self._device = {name: DeviceMemory(gpu) for name in self._specs}
        self._host = {name: PinnedMemory(gpu) for name in self._specs}
        self._scratch = DeviceMemory(gpu)
        for memory in (*self._device.values(), *self._host.values(), self._scratch):
            freeing.callback(memory.free)
        self._contexts: dict[int, Context] = {}
        self._graphs: dict[ShapeKey, Captured] = {}
        freeing.callback(self._contexts.clear)
        freeing.callback(self._free_graphs)
        # One scratch memory for all contexts of the slot: only one of them computes at a time.
        self._scratch.reserve(engine.scratch_bytes())
        for profile in engine.profiles:
            self._contexts[profile.index] = self._new_context(profile)
        self._most_bytes = self._most()

    def _new_context(self, profile: Profile) -> Context:
        scratch = (self._scratch.address, self._scratch.num_bytes)
        context = self._engine.context(profile, self._stream.address, scratch)
        self._stream.wait()  # choosing a profile may copy: a context must not go while that is queued
        return context

    def _most(self) -> dict[str, int]:
        """Bytes of each tensor at the largest shapes that the engine was built for."""
        most = dict.fromkeys(self._specs, 0)
        for profile in self._engine.profiles:
            outputs = self._engine.shape_context(self._contexts[profile.index], profile.largest)
            for name, shape in {**profile.largest, **outputs}.items():
                most[name] = max(most[name], self._num_bytes(name, shape))
        return most

    def warm_up(self) -> None:
        """Run each profile once, so that no request pays for what is loaded late, nor finds that memory does not do.

        Raises:
            OutOfMemory: the largest batch does not fit.
        """
        for profile in reversed(self._engine.profiles):
            self.run(self._zeros(profile.largest if self._engine.fixed else profile.typical), profile)

    def capture(self, num_rows: int) -> None:
        """Record the way of a batch of this size as a graph; without one the batch runs as others do.

        After `warm_up`, and for engines of fixed shapes only: memory must not move any more.

        Raises:
            DeviceLost: the device broke.
        """
        inputs = {
            spec.name: tuple(num_rows if size == "?" else int(size) for size in spec.shape)
            for spec in self._engine.inputs
        }
        try:
            profile = self._engine.profile_for(inputs)
        except RuntimeFailed:
            return  # a ladder may name more than this engine was built for
        try:
            context = self._new_context(profile)
            outputs = self._prepare(context, inputs)
            work = partial(self._enqueue, context, inputs, outputs)
            self._fill(self._zeros(inputs))
            self._do(work)  # TensorRT finishes in the first run what it put off when shapes were set
            self._graphs[self._key(inputs)] = Captured(self._stream.capture(work), context, outputs)
        except DeviceLost:
            raise
        except RuntimeFailed as cause:
            said = str(cause)  # an error holds its frames, and a log may hold what it is given
            log.warning("batches of %d run without a CUDA graph: %s", num_rows, said)

    def run(self, batch: Tensors, profile: Profile) -> Tensors:
        """Compute one batch that the profile holds; the arrays returned are the caller's own.

        They are copied out of pinned memory: callers keep rows for as long as they like, and the slot's next batch
        goes through the same memory.

        Raises:
            OutOfMemory: the device's memory does not hold it.
            DeviceLost: the device broke.
            RuntimeFailed: TensorRT refused it.
        """
        inputs = {spec.name: batch[spec.name].shape for spec in self._engine.inputs}
        captured = self._graphs.get(self._key(inputs))
        work: Callable[[], None]
        if captured is None:
            context = self._contexts[profile.index]
            outputs = self._prepare(context, inputs)
            work = partial(self._enqueue, context, inputs, outputs)
        else:
            outputs, work = captured.outputs, captured.graph.launch
        self._fill(batch)
        self._do(work)
        return {name: self._view(name, shape).copy() for name, shape in outputs.items()}

    def _prepare(self, context: Context, inputs: Shapes) -> Shapes:
        """Shapes and addresses into the context, memory for both; returns the shapes of the outputs."""
        outputs = self._engine.shape_context(context, inputs)
        for name, shape in {**inputs, **outputs}.items():
            self._reserve(name, self._num_bytes(name, shape))
            if not context.set_tensor_address(name, self._device[name].address):
                raise self._engine.messages.refusal(f"tensor '{name}' cannot be placed")
        return outputs

    def _reserve(self, name: str, num_bytes: int) -> None:
        for memory in (self._device[name], self._host[name]):
            if num_bytes > memory.num_bytes:  # by doubling: texts grow a word at a time
                memory.reserve(max(num_bytes, min(2 * memory.num_bytes, self._most_bytes[name])))

    def _fill(self, batch: Tensors) -> None:
        for name, array in batch.items():
            np.copyto(self._view(name, array.shape), array)

    def _do(self, work: Callable[[], None]) -> None:
        """Queue work and wait for it; where that fails, for what of it was queued: it uses this slot's memory."""
        self._engine.messages.forget()
        try:
            work()
            self._stream.wait()
        except BaseException:
            if not self._gpu.lost:
                self._stream.wait()  # says so where the device is lost: then that is the cause
            raise

    def _enqueue(self, context: Context, inputs: Shapes, outputs: Shapes) -> None:
        for name, shape in inputs.items():
            self._stream.copy_in(self._device[name], self._host[name], self._num_bytes(name, shape))
        if not context.execute_async_v3(self._stream.address):
            raise self._engine.messages.refusal("it cannot be queued")
        for name, shape in outputs.items():
            self._stream.copy_out(self._host[name], self._device[name], self._num_bytes(name, shape))

    def _key(self, inputs: Shapes) -> ShapeKey:
        return tuple(inputs.values())

    def _num_bytes(self, name: str, shape: Shape) -> int:
        return prod(shape) * np.dtype(self._specs[name].dtype).itemsize

    def _view(self, name: str, shape: Shape) -> Array:
        return self._host[name].view(shape, self._specs[name].dtype)

    def _zeros(self, shapes: Mapping[str, Shape]) -> Tensors:
        return {name: np.zeros(shape, self._specs[name].dtype) for name, shape in shapes.items()}

    def _free_graphs(self) -> None:
        for captured in self._graphs.values():
            captured.graph.free()
        self._graphs.clear()
