"""What is used of TensorRT's own module, and what it says when it refuses.

TensorRT tells a failure by False or None and puts the reason into its log: a log that keeps the last words of each
thread turns them into errors. The module is an argument everywhere, so that tests pass a simulated one.

Knows the form of the modules `tensorrt` and `tensorrt_rtx`. Knows nothing of memory or slots.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from bundle.errors import RuntimeFailed
from runtime.cuda_api import Cuda
from runtime.device_errors import meaning

log = logging.getLogger("modelyard.runtime")

KEPT_MESSAGES = 8


class Modules(NamedTuple):
    """The two libraries that an engine needs."""

    trt: Any
    """`tensorrt`."""
    cuda: Cuda
    """`cuda.bindings.runtime`."""


class ApiEngine(Protocol):
    """What is used of ICudaEngine."""

    num_io_tensors: int
    num_optimization_profiles: int

    def get_tensor_name(self, index: int) -> str: ...  # noqa: D102
    def get_tensor_mode(self, name: str) -> Any: ...  # noqa: D102
    def get_tensor_dtype(self, name: str) -> Any: ...  # noqa: D102
    def get_tensor_shape(self, name: str) -> Sequence[int]: ...  # noqa: D102
    def get_tensor_location(self, name: str) -> Any: ...  # noqa: D102
    def get_tensor_profile_shape(self, name: str, profile_index: int) -> Sequence[Sequence[int]]: ...  # noqa: D102
    def get_device_memory_size_for_profile_v2(self, profile_index: int) -> int: ...  # noqa: D102
    def create_execution_context(self, strategy: Any) -> "Context | None": ...  # noqa: D102


class Context(Protocol):
    """What is used of IExecutionContext. Calls of one context must not overlap."""

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool: ...  # noqa: D102
    def set_device_memory(self, memory: int, size: int) -> None: ...  # noqa: D102
    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool: ...  # noqa: D102
    def set_tensor_address(self, name: str, memory: int) -> bool: ...  # noqa: D102
    def get_tensor_shape(self, name: str) -> Sequence[int]: ...  # noqa: D102
    def execute_async_v3(self, stream_handle: int) -> bool: ...  # noqa: D102


def installed_modules() -> Modules:
    """The libraries as they are installed here; no device is touched.

    Raises:
        RuntimeFailed: one is missing, or its own libraries are.
    """
    try:
        return Modules(import_module("tensorrt"), import_module("cuda.bindings.runtime"))
    except (ImportError, OSError) as cause:
        raise RuntimeFailed(
            f"runtime 'tensorrt' cannot be imported: {cause}; pip install 'modelyard[tensorrt]'"
        ) from cause


class Messages:
    """What TensorRT said, by thread: its words about a call come on the thread that made the call."""

    def __init__(self, trt: Any) -> None:
        self.also: list[Callable[[str, str], None]] = []
        """Who else wants to hear: called with "error" or "warning" and the words, on any thread. Warnings are logged
        where nobody else hears them."""
        also = self.also
        self._by_thread = by_thread = threading.local()
        severity = trt.ILogger.Severity
        errors, warning = (severity.INTERNAL_ERROR, severity.ERROR), severity.WARNING

        class Log(trt.ILogger):  # type: ignore[misc] # the module is known at run time only
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, msg: str) -> None:
                if severity in errors:
                    if not hasattr(by_thread, "said"):
                        by_thread.said = deque(maxlen=KEPT_MESSAGES)
                    by_thread.said.append(msg)
                elif severity != warning:
                    return
                elif not also:
                    log.warning("tensorrt: %s", msg)
                for hear in also:
                    hear("warning" if severity == warning else "error", msg)

        self.logger = Log()

    def forget(self) -> None:
        """Drop what this thread heard: before a call whose refusal will be explained."""
        self._by_thread.said = deque(maxlen=KEPT_MESSAGES)

    def refusal(self, what: str) -> RuntimeFailed:
        """The error for a call that gave False or None; its reason is what was said since `forget`."""
        said = "; ".join(getattr(self._by_thread, "said", ())) or "it gave no reason"
        return meaning(said)(f"{what}; TensorRT says: {said}")


@cache
def messages_of(trt: Any) -> Messages:
    """The one log of this module and process, for builders too: TensorRT stays with the first that it was given."""
    return Messages(trt)
