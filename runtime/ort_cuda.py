"""ONNX Runtime on a GPU: what has to be there, the session's options, and a check that the graph really runs on it.

onnxruntime-gpu falls back to the CPU without raising, wherever a library or the driver is missing or a node has no
kernel; here each of these is refused with what to do about it.

CUDA graphs, where `Placement.graph_batches` asks for them. ONNX Runtime's rules, and what is done about each:
- every node computes on CUDA and there is no control flow: it refuses to load the graph otherwise, which is loaded
  without graphs then, with one line in the log;
- sizes and addresses are those of the capture: one `Bound` for each slot and batch size, and only where nothing but
  the batch has a size of its own; other batch sizes run as ever (graph id -1);
- the first run with a new id warms up and captures, each later one replays, and a replay copies nothing: outputs stay
  on the device and are copied from there;
- a captured graph belongs to the thread that captured it, and runs are not concurrent: one thread computes all batches
  of such a session (slots still copy meanwhile);
- it captures in CUDA's global mode: runtime/capture_gate.py keeps other models off the GPU meanwhile.

Knows onnxruntime-gpu. Knows nothing of tasks or of batching policy.
"""

import contextlib
import ctypes
import io
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import onnxruntime as ort

from bundle.errors import DeviceLost, RuntimeFailed
from bundle.tensors import Tensors
from runtime.capture_gate import GATE
from runtime.cuda import Gpu
from runtime.device_errors import failure
from runtime.devices import cudart
from runtime.ort import ERRORS_ONLY, open_session, require_provider, specs_of
from runtime.ort_binding import Compute, Slots, can_capture
from runtime.runtime import Placement

log = logging.getLogger("modelyard.runtime")

PROVIDER: Final = "CUDAExecutionProvider"
BOUND_TO: Final = "cuda"
"""Where ONNX Runtime takes bound memory to be."""
DRIVER: Final = "libcuda.so.1"
INSTALL: Final = "install CUDA's libraries with pip install 'modelyard[gpu]'"
GIVE_DRIVER: Final = (
    "install NVIDIA's driver (libcuda.so.1), r580 or newer, or give the container its GPUs (docker run --gpus all; in "
    "Kubernetes a limit of nvidia.com/gpu)"
)
WITH_WEIGHTS: Final = re.compile(r".*(Conv|MatMul|Gemm|Attention|LSTM|GRU|RNN)")
"""Operators that are worth a GPU; on the CPU they would be the whole time of a batch."""


class OnGpu:
    """A session on the GPU of a placement."""

    def __init__(self, path: Path, placement: Placement) -> None:
        """Load it, with CUDA graphs where they are wanted and can be had.

        Raises:
            OutOfMemory: the weights do not fit; a larger `memory_bytes` or another GPU may hold them.
            DeviceLost: the GPU broke meanwhile.
            RuntimeFailed: libraries, driver or GPU are missing, or the graph would not run on it; the message says
                what to do.
        """
        require_gpu(placement)
        self._gpu = Gpu(cudart(), placement.index)
        slots = self._with_graphs(path, placement) if placement.graph_batches else None
        if slots is None:
            with GATE.beside_others():
                slots = self._open(path, placement, graphs=False)
        self._slots = slots
        self.session = slots.session

    def run(self, batch: Tensors) -> Tensors:
        """Compute one batch."""
        with GATE.beside_others():
            return self._slots.run(batch)

    @property
    def lost(self) -> str:
        """Why nothing on this GPU answers again; it was asked when a batch failed."""
        return self._gpu.lost

    def _with_graphs(self, path: Path, placement: Placement) -> Slots | None:
        try:
            with GATE.beside_others():
                slots = self._open(path, placement, graphs=True)
            if not can_capture(slots.inputs, slots.outputs):
                raise RuntimeFailed("more than the batch has a size of its own")
            with GATE.alone():
                slots.capture(placement.graph_batches)
        except Exception as cause:
            refused = failure(f"{path}: CUDA graphs cannot be captured on {placement}", cause)
            if isinstance(refused, DeviceLost):
                raise refused from cause
            log.warning("%s: runs without CUDA graphs on %s: %s", path, placement, cause)
            return None
        return slots

    def _open(self, path: Path, placement: Placement, graphs: bool) -> Slots:
        session = open_session(path, placement, PROVIDER, provider_options(placement, graphs))
        require_on_gpu(session, path, placement)
        compute = one_thread(session.run_with_iobinding) if graphs else session.run_with_iobinding
        return Slots(session, self._gpu, specs_of(session), max(1, placement.slots), compute, BOUND_TO)


def one_thread(run: Compute) -> Compute:
    """The same, always on one thread of its own."""
    thread = ThreadPoolExecutor(1, "onnxruntime-graphs")
    return lambda binding, options: thread.submit(run, binding, options).result()


def provider_options(placement: Placement, graphs: bool) -> dict[str, str]:
    """What CUDA's provider is told.

    `memory_bytes` limits its arena: weights and what lies between layers. The buffers of inputs and outputs come on
    top, and so does what CUDA itself needs.
    """
    options = {
        "device_id": str(placement.index),
        "use_tf32": "0",  # fp32 stays fp32: the evidence was measured with it
        # EXHAUSTIVE, the default, tries every algorithm whenever a new shape comes, in the middle of the service.
        "cudnn_conv_algo_search": "HEURISTIC",
        "enable_cuda_graph": "1" if graphs else "0",
    }
    if placement.memory_bytes is not None:
        # By powers of two, the other strategy, the arena would give up long before its limit is reached.
        options |= {"gpu_mem_limit": str(placement.memory_bytes), "arena_extend_strategy": "kSameAsRequested"}
    return options


def require_gpu(placement: Placement) -> None:
    """Refuse unless provider, libraries, driver and GPU are there.

    Raises:
        RuntimeFailed: what is missing, all of it, and what to do.
    """
    require_provider(PROVIDER, placement)
    ort.set_default_logger_severity(ERRORS_ONLY)  # one of its warnings comes with every session, and means nothing here
    missing = missing_libraries()
    if missing:
        advice = [INSTALL] * any(library != DRIVER for library in missing) + [GIVE_DRIVER] * (DRIVER in missing)
        raise RuntimeFailed(
            f"device '{placement}' was asked for, and this machine cannot load {', '.join(missing)}: "
            f"{'; '.join(advice)}; or choose device 'cpu'"
        )
    Gpu(cudart(), placement.index)


def missing_libraries() -> list[str]:
    """Load what CUDA's provider links to, and name what is not there."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):  # it raises nothing, and prints "Failed to load NAME: why"
        ort.preload_dlls()
    missing = [line.split()[3].rstrip(":") for line in printed.getvalue().splitlines() if line.startswith("Failed to")]
    return [*dict.fromkeys(missing), *[DRIVER] * (not _loads(DRIVER))]


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def require_on_gpu(session: Any, path: Path, placement: Placement) -> None:
    """Refuse a session that runs on the CPU after all, or that would compute nodes with weights there.

    Raises:
        RuntimeFailed: which library is missing, or which nodes.
    """
    got = session.get_providers()
    if got[0] != PROVIDER:
        raise RuntimeFailed(
            f"{path}: asked for {PROVIDER} on {placement} and got {got}: {_why_not()}; {INSTALL}, or choose "
            "device 'cpu'"
        )
    stray = nodes_with_weights_on_cpu(session)
    if stray:
        shown = ", ".join(stray[:3]) + (f" and {len(stray) - 3} more" if len(stray) > 3 else "")
        raise RuntimeFailed(
            f"{path}: {PROVIDER} has no kernel for {shown}: the CPU would compute them. An artefact for CPUs (int8) "
            "belongs on one; choose another artefact, or device 'cpu'"
        )


def _why_not() -> str:
    library = Path(ort.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    try:
        ctypes.CDLL(str(library))
    except OSError as cause:
        return str(cause)
    return "its library loads, so its version and the driver's do not fit, or the GPU is too old"


def nodes_with_weights_on_cpu(session: Any) -> list[str]:
    """Nodes worth a GPU that the CPU's provider was given: "Conv 'stem/conv'"."""
    return [
        f"{node.op_type} '{node.name}'"
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name == "CPUExecutionProvider"
        for node in part.get_nodes()
        if WITH_WEIGHTS.match(node.op_type)
    ]
