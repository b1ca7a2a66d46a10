"""A runtime whose batches cost a known time on a clock of their own: tuning it gives the same figures everywhere.

Each thread has a clock that only its batches move, so callers run side by side as on a machine with a processor for
each of them, and the figures do not depend on this one.
"""

import threading
from pathlib import Path
from typing import ClassVar

from bundle.errors import OutOfMemory
from bundle.tensors import Tensors
from runtime.fake import FakeRuntime
from runtime.runtime import ON_CPU, Placement

_time = threading.local()


def clock() -> float:
    """Seconds that this thread has spent in batches."""
    return float(getattr(_time, "spent_s", 0.0))


class CostlyRuntime(FakeRuntime):
    """4 ms a batch and 1 ms a row; all processors together take `wide_pays` times less."""

    batch_ms: ClassVar[float] = 4.0
    row_ms: ClassVar[float] = 1.0
    wide_pays: ClassVar[float] = 1.0
    most_rows: ClassVar[int] = 1000
    """More do not fit in its memory."""

    def __init__(self, path: Path, placement: Placement = ON_CPU) -> None:
        super().__init__(path, placement)
        self.placement = placement
        self._first = self.inputs[0].name

    def run(self, batch: Tensors) -> Tensors:
        num_rows = len(batch[self._first])
        if num_rows > self.most_rows:
            raise OutOfMemory(f"{num_rows} rows need too much memory")
        speed = self.wide_pays if self.placement.threads > 1 else 1.0
        _time.spent_s = clock() + (self.batch_ms + self.row_ms * num_rows) / speed / 1e3
        return super().run(batch)


class QuickRuntime(CostlyRuntime):
    """Half of that."""

    batch_ms = 2.0
    row_ms = 0.5


class WrongRuntime(CostlyRuntime):
    """Quick, and its answers are others."""

    batch_ms = 0.1
    row_ms = 0.1

    def run(self, batch: Tensors) -> Tensors:
        return {name: array[..., ::-1] for name, array in super().run(batch).items()}
