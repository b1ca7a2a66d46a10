"""What a batcher is given: how to merge (`Policy`), what computes (`Compute`), and who is told (`Observer`).

Knows rows. Knows nothing of queues, threads or HTTP.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from bundle.errors import DeviceLost, OutOfMemory, Overloaded
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

    def out_of_memory(self) -> None:
        """The device's memory did not hold a batch."""

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
    num_gpus: int = 0
    """What waits is shared among those that are free: a GPU that would be shared gains more from a larger batch. 0:
    there are none, and it is shared among the free lanes."""
    here: bool = False
    """Small enough for the event loop."""

    @property
    def largest(self) -> int:
        """Most rows of a batch."""
        return max(1, min(self.max_batch_size, self.preferred_batch_size))


class Ran(NamedTuple):
    """What became of a batch."""

    outputs: list[Tensors | Exception]
    """By row, in order."""
    too_large: int = 0
    """Rows of the batch, where the device's memory did not hold it."""


def run_each(compute: Compute, rows: list[Tensors], alone: bool) -> Ran:
    """Run a batch; where it fails, no row fails for its neighbours' sake.

    Where memory is short, each half is tried once; what then still does not fit is refused as an overload is. Where the
    device is lost, nothing is tried again. After any other failure each row is run by itself.
    """
    try:
        return Ran(list(compute.run(rows, alone)))
    except OutOfMemory as cause:
        if len(rows) == 1:
            return Ran(_no_room(rows, cause), 1)
        middle = (len(rows) + 1) // 2
        halves = (rows[:middle], rows[middle:])
        return Ran([output for half in halves for output in _run_half(compute, half, alone)], len(rows))
    except Exception as cause:  # noqa: BLE001 - an engine's own errors too must reach the callers of these rows
        return Ran(_run_alone(compute, rows, alone, cause))


def _run_half(compute: Compute, rows: list[Tensors], alone: bool) -> list[Tensors | Exception]:
    try:
        return list(compute.run(rows, alone))
    except OutOfMemory as cause:
        return _no_room(rows, cause)
    except Exception as cause:  # noqa: BLE001 - as above
        return _run_alone(compute, rows, alone, cause)


def _run_alone(compute: Compute, rows: list[Tensors], alone: bool, cause: Exception) -> list[Tensors | Exception]:
    """Each row of a batch that failed, by itself."""
    if isinstance(cause, DeviceLost):
        return [DeviceLost(str(cause)) for _ in rows]
    if len(rows) == 1:
        return [cause]
    outputs: list[Tensors | Exception] = []
    for i, row in enumerate(rows):
        try:
            outputs += compute.run([row], alone)
        except OutOfMemory as short:
            outputs += _no_room([row], short)
        except DeviceLost as lost:
            return outputs + [DeviceLost(str(lost)) for _ in rows[i:]]
        except Exception as own:  # noqa: BLE001 - as above
            outputs.append(own)
    return outputs


def _no_room(rows: list[Tensors], cause: OutOfMemory) -> list[Tensors | Exception]:
    told = f"the memory of the device is short: it does not hold a batch of {len(rows)} rows now; try again ({cause})"
    return [Overloaded(told) for _ in rows]
