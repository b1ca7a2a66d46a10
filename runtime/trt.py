"""TensorRT: run an engine that was built for this GPU, on several batches at once.

A runtime has `placement.slots` slots (runtime/trt_slot.py). A caller takes one, or waits for one; its rows go through
pinned memory onto the GPU, through the engine, and back, all queued on the slot's own stream, and only that stream is
waited for. So with two slots and two callers the bus is busy while the engine computes:

    slot 0   fill | copy in | compute k ........ | copy out | read  fill | copy in | wait | compute k+2 ........
    slot 1           fill | copy in | (the GPU is busy) | compute k+1 ........ | copy out | read  fill ...
    engine          idle    | k ................ | k+1 .................. | k+2 ...

A third slot hides filling and reading too, where rows are large; more only take memory: each slot holds buffers for
the largest batch and one scratch memory of the engine's, whatever the number of its profiles. Where only the number of
rows varies, each batch size in `placement.graph_batches` is captured at load, a slot at a time, as one CUDA graph of
copies and kernels; launching it costs one call in place of one a kernel, which is what small batches of small networks
wait for. Sizes that are not captured, or could not be, run as they are: a graph changes no answer.

The engine is loaded, warmed up and captured before the constructor returns, and all of it is freed when the runtime is
dropped, on whatever thread that happens. Its captures may go on beside anything (what other threads do does not count),
but nothing of it may go on beside those of ONNX Runtime: loading and running go through runtime/capture_gate.py.

Knows TensorRT and CUDA by their modules, which it imports only when one is made. Knows nothing of tasks or batching.
"""

import weakref
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from traceback import clear_frames
from typing import Any

from bundle.errors import DeviceLost, RuntimeFailed
from bundle.tensors import Tensors, brief
from runtime.capture_gate import GATE
from runtime.cuda import Gpu
from runtime.runtime import Placement
from runtime.trt_api import Modules, installed_modules
from runtime.trt_engine import Engine
from runtime.trt_slot import Slot


class TrtRuntime:
    """One engine on one GPU; `run` may be called from any number of threads."""

    def __init__(self, path: Path, placement: Placement, modules: Modules | None = None) -> None:
        """Load a plan whose hash the caller has checked: a plan is code.

        Raises:
            OutOfMemory: the GPU's memory, or the part of it that was allowed, does not hold engine and slots.
            RuntimeFailed: no such GPU or library, or a plan of another GPU or version.
        """
        if placement.device != "cuda":
            raise RuntimeFailed(f"{path}: TensorRT runs on GPUs only, not on '{placement}'; choose device 'cuda'")
        trt, cuda = modules or installed_modules()
        self._gpu = gpu = Gpu(cuda, placement.index, placement.memory_bytes)
        freeing = ExitStack()
        # Not `self._free`: what the finalizer holds must not hold the runtime.
        self._freeing = weakref.finalize(self, gpu.free, freeing)
        self._idle: SimpleQueue[Slot] = SimpleQueue()
        try:
            with GATE.beside_others(), gpu.borrowed():
                gpu.use()
                self._engine = _load(gpu, trt, path, freeing)
                for slot in [Slot(gpu, self._engine, freeing) for _ in range(max(placement.slots, 1))]:
                    slot.warm_up()
                    for num_rows in placement.graph_batches if self._engine.fixed else ():
                        slot.capture(num_rows)
                    self._idle.put(slot)
        except BaseException as cause:
            clear_frames(cause.__traceback__)  # contexts there would outlive their engine's memory
            self._freeing()
            raise
        self.inputs, self.outputs = self._engine.inputs, self._engine.outputs

    @property
    def dead_because(self) -> str:
        """Why it will never answer again; "" while it does."""
        return self._gpu.lost

    def run(self, batch: Tensors) -> Tensors:
        """Compute one batch; waits while all slots are taken.

        Raises:
            OutOfMemory: the GPU's memory does not hold it; a smaller batch may fit, and later ones are computed.
            DeviceLost: the GPU broke, now or before; no later batch is computed.
            RuntimeFailed: the batch does not fit the engine, or TensorRT refused it.
        """
        self._gpu.must_live()
        try:
            profile = self._engine.check(batch)
            slot = self._idle.get()
            try:
                with GATE.beside_others():
                    self._gpu.use()
                    return slot.run(batch, profile)
            finally:
                self._idle.put(slot)
        except DeviceLost as cause:
            self._gpu.lose(str(cause))  # by TensorRT's words, where it met the error first
            raise
        except RuntimeFailed as cause:
            raise type(cause)(f"tensorrt failed on {brief(batch)}: {cause}") from cause


def _load(gpu: Gpu, trt: Any, path: Path, freeing: ExitStack) -> Engine:
    num_bytes = path.stat().st_size if path.exists() else 0
    gpu.take(num_bytes, f"{path}: the engine")  # most of a plan is weights
    engine = Engine(trt, path)
    freeing.callback(engine.free)
    return engine
