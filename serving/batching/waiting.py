"""What waits for one model: requests (`Job`) and the order of their inputs (`Waiting`).

By priority, then by arrival. Inputs that are still raw and rows that may run wait apart; rows wait by shape, since rows
of unlike shape never share a batch. `Waiting` is not locked: its batcher's callers hold the lanes' lock.

Knows rows and order. Knows nothing of threads or of models.
"""

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import Any, Generic, TypeVar

from bundle.preprocess import Prepared
from bundle.tensors import Tensors
from serving.batching.call import Call, now

R = TypeVar("R")
Entry = tuple[int, int, int, "Job[Any]"]
"""Priority, arrival, which input of the request, the request: sorts as it should run, and never compares requests."""


class Job(Generic[R]):
    """One request on its way: inputs, their rows, its outputs so far, and the future its caller waits for."""

    __slots__ = (
        "active",
        "call",
        "closed",
        "error",
        "finish",
        "forgotten",
        "future",
        "inputs",
        "loop",
        "order",
        "outputs",
        "prepare_s",
        "prepared",
        "result",
        "submitted",
        "tokens",
    )

    def __init__(
        self,
        call: Call,
        inputs: Sequence[bytes | Prepared],
        finish: Callable[[list[Tensors], list[Prepared]], R],
        loop: asyncio.AbstractEventLoop,
        order: int,
    ) -> None:
        self.call = call
        self.inputs = inputs
        self.finish = finish
        self.loop = loop
        self.order = order
        self.future: asyncio.Future[R] = loop.create_future()
        self.prepared: list[Prepared | None] = [None] * len(inputs)
        self.outputs: list[Tensors] = [{}] * len(inputs)
        self.tokens = list(range(len(inputs)))
        """One for every row that is not computed; popping is atomic, so exactly one thread takes the last, 0."""
        self.submitted = now()
        self.prepare_s = 0.0
        self.active = 0
        """Inputs of it that a lane has in hand."""
        self.forgotten = False
        """No longer waiting; set with the lanes' lock held."""
        self.closed = False
        """Answered; set on the event loop."""
        self.result: R | None = None
        self.error: Exception | None = None

    def row(self, i: int) -> Tensors:
        """The prepared row of an input."""
        one = self.prepared[i]
        assert one is not None  # noqa: S101 - rows are asked for after preparing
        return one.tensors

    def shape(self, i: int) -> object:
        """What rows must share to share a batch."""
        return tuple([array.shape for array in self.row(i).values()])

    def put(self, i: int, output: Tensors | Exception, started: float, computed: float) -> bool:
        """Take the outputs of a row, or why there are none; True for the one call that made the request whole."""
        if isinstance(output, Exception):
            self.error = output
        else:
            self.outputs[i] = output
        if self.tokens.pop():
            return False
        phases = self.call.phases
        phases["prepare"] = self.prepare_s
        phases["queue"] = max(0.0, started - self.submitted - self.prepare_s)
        phases["compute"] = computed - started
        return True

    def conclude(self) -> None:
        """Make the answer; on any thread."""
        if self.error is not None:
            return
        start = now()
        try:
            self.result = self.finish(self.outputs, self.prepared)  # type: ignore[arg-type] # all are prepared
        except Exception as cause:  # noqa: BLE001 - the caller gets it
            self.error = cause
        phases = self.call.phases
        phases["decode"] = max(0.0, now() - start - phases.get("encode", 0.0))

    def close(self, error: Exception | None) -> None:
        """Give the caller the answer, or an error; on the event loop, and only the first time."""
        if self.closed:
            return
        self.closed = True
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(self.result)  # type: ignore[arg-type]


class Waiting:
    """The inputs that wait, raw or as rows."""

    def __init__(self, largest: int, max_delay_s: float) -> None:
        self.number = 0
        """All that waits."""
        self.num_rows = 0
        """Those that are prepared."""
        self.largest = largest
        self._max_delay_s = max_delay_s
        self._raw: list[Entry] = []
        self._rows: dict[object, list[Entry]] = {}

    def add(self, job: Job[Any], i: int) -> None:
        """Queue one input of a request, where it belongs by what has been done to it."""
        if job.forgotten:
            return
        entry = (job.call.priority, job.order, i, job)
        self.number += 1
        if job.prepared[i] is None:
            heappush(self._raw, entry)
        else:
            self.num_rows += 1
            heappush(self._rows.setdefault(job.shape(i), []), entry)

    def forget(self, job: Job[Any]) -> None:
        """Take out whatever of a request waits."""
        if job.forgotten:
            return
        job.forgotten = True
        self._raw, gone = _without(self._raw, job)
        self.number -= gone
        for shape in list(self._rows):
            kept, gone = _without(self._rows[shape], job)
            self.number -= gone
            self.num_rows -= gone
            if kept:
                self._rows[shape] = kept
            else:
                del self._rows[shape]

    def late(self, moment: float) -> list[Job[Any]]:
        """Take out the requests whose deadline has passed and of which no lane has anything in hand."""
        passed = {job for job in self._jobs() if job.call.deadline <= moment and not job.active}
        for job in passed:
            self.forget(job)
        return sorted(passed, key=lambda job: job.order)

    def earliest_deadline(self) -> float:
        """Of all that waits; infinite where nothing does."""
        return min((job.call.deadline for job in self._jobs()), default=math.inf)

    def _jobs(self) -> Iterator[Job[Any]]:
        for entries in (self._raw, *self._rows.values()):
            for entry in entries:
                yield entry[3]

    def has_raw(self) -> bool:
        """Whether an input waits to be prepared."""
        return bool(self._raw)

    def has_rows(self) -> bool:
        """Whether a batch may run: there are rows, and they fill one or have waited long enough."""
        if not self._rows:
            return False
        if not self._max_delay_s or self.fills_a_batch():
            return True
        oldest = min(rows[0][3].submitted for rows in self._rows.values())
        return now() - oldest >= self._max_delay_s

    def fills_a_batch(self) -> bool:
        """Whether the rows of one shape make a batch of the largest size."""
        return any(len(rows) >= self.largest for rows in self._rows.values())

    def _is_due(self, shape: object) -> tuple[bool, Entry]:
        """Sorts shapes by when they should run: where rows wait for company, whole batches go first."""
        rows = self._rows[shape]
        return bool(self._max_delay_s) and len(rows) < self.largest, rows[0]

    def next_raw(self) -> tuple[Job[Any], int]:
        """The input to prepare next."""
        _, _, i, job = heappop(self._raw)
        self.number -= 1
        return job, i

    def next_batch(self, share: int) -> list[tuple[Job[Any], int]]:
        """The rows to run next: of the shape whose first is due first, at most `share` of them.

        Rows that were made to wait for company are not parted again: what is left would wait anew.
        """
        shape = min(self._rows, key=self._is_due)
        rows = self._rows[shape]
        size = min(len(rows), self.largest, len(rows) if self._max_delay_s else max(1, share))
        taken = [heappop(rows) for _ in range(size)]
        if not rows:
            del self._rows[shape]
        self.number -= size
        self.num_rows -= size
        return [(job, i) for _, _, i, job in taken]


def _without(entries: list[Entry], job: Job[Any]) -> tuple[list[Entry], int]:
    kept = [entry for entry in entries if entry[3] is not job]
    heapify(kept)
    return kept, len(entries) - len(kept)
