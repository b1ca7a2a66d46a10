"""What a batcher is given: how to merge (`Policy`), what computes (`Compute`), and who is told (`Observer`).

Knows rows. Knows nothing of queues, threads or HTTP.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bundle.preprocess import Prepared
from bundle.tensors import Tensors


class Compute(Protocol):
    """The model behind a batcher. Called from several threads at once."""

    def prepare(self, raw: bytes) -> Prepared:
        """One raw input -> one row of inputs."""
        ...

    def is_quick(self, raw: bytes) -> bool:
        """Whether `prepare` takes less time than handing it to a thread."""
        ...

    def run(self, rows: Sequence[Tensors], alone: bool) -> list[Tensors]:
        """Rows of one shape -> their outputs; `alone`: nothing else wants the processors."""
        ...


class Observer(Protocol):
    """Who is told what happened; called on the event loop only."""

    def batch(self, size: int, compute_s: float) -> None:
        """A batch ran."""

    def shed(self) -> None:
        """A request was refused because the queue was full."""

    def deadline_drop(self) -> None:
        """A request's time was up before it was computed."""

    def gone_drop(self) -> None:
        """A request was dropped because its client had gone."""


@dataclass(frozen=True)
class Policy:
    """How one model's inputs are merged."""

    max_batch_size: int = 32
    preferred_batch_size: int = 32
    """Larger batches would only wait longer: from the latency table of the bundle."""
    max_queue: int = 256
    """Inputs that may wait; one more is refused."""
    max_queue_delay_s: float = 0.0
    instances: int = 1
    """Most batches that run at once."""
    here: bool = False
    """Small enough for the event loop."""

    @property
    def largest(self) -> int:
        """Most rows of a batch."""
        return max(1, min(self.max_batch_size, self.preferred_batch_size))


def run_each(compute: Compute, rows: list[Tensors], alone: bool) -> list[Tensors | Exception]:
    """The outputs of a batch; where it fails, each row is run by itself, so that only bad ones fail."""
    try:
        return list(compute.run(rows, alone))
    except Exception as cause:  # noqa: BLE001 - an engine's own errors too must reach the callers of these rows
        if len(rows) == 1:
            return [cause]
    return [run_each(compute, [row], alone)[0] for row in rows]
