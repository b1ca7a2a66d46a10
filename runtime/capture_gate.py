"""Nothing else may ask anything of CUDA while ONNX Runtime captures a graph: one gate for all models of the process.

It captures in CUDA's global mode, in which an allocation, a copy or a wait of *any* thread fails with error 900 and
spoils the capture. Captures are made when a model is loaded, next to others that answer: those wait some ten
milliseconds here instead. Knows threads. Knows nothing of CUDA.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class CaptureGate:
    """Any number of runs at once, or one capture alone."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._num_inside = 0
        self._alone = False

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        """Use CUDA; waits while a graph is captured. Never from inside."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            self._num_inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._num_inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Capture; waits until nobody is inside, and lets nobody in meanwhile. Never from inside."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            self._alone = True
            self._changed.wait_for(lambda: self._num_inside == 0)
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()


GATE = CaptureGate()
"""The one of this process."""
