"""One simulated pod: the batcher's rule (serving/batching/batcher.py), with a table of times in place of an engine.

Nothing waits for company: a batch is what queued while earlier work ran, and where several lanes are free it is shared
among them. Preparing goes first where that makes fuller batches. The queue is bounded and refuses at once; what is late
is never computed. A test holds it against the real batcher. Knows requests by number, and time. Knows no cluster.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from loadtests.capacity.service_times import ServiceTimes


@dataclass(frozen=True)
class PodSpec:
    """What every pod of a cluster is."""

    times: ServiceTimes
    largest: int = 1
    """Most rows of a batch."""
    lanes: int = 1
    """Threads, with a processor each."""
    max_queue: int = 256
    """Inputs that may wait; one more is refused at once."""
    timeout_s: float = 30.0
    here: bool = False
    """Runs on the event loop: most of what waits lies in sockets, where no bound refuses it."""

    @property
    def most_per_second(self) -> float:
        """What it answers where it never idles."""
        return self.times.most_per_second(self.largest, self.lanes)


@dataclass(frozen=True, slots=True)
class Unit:
    """Work of one lane: a batch, or one input to prepare."""

    entries: tuple[int, ...]
    is_batch: bool
    seconds: float


class Pod:
    """Its queue and its lanes."""

    def __init__(self, spec: PodSpec, arrived: list[float], factor: Callable[[], float], number: int = 0) -> None:
        """`arrived` holds the moment of every request; `factor` gives how far a unit of work is from its table."""
        self.number = number
        self.waiting = 0
        self.in_flight = 0
        """Accepted and not answered."""
        self.asked = 0
        """Requests that came, refused ones too."""
        self.late: list[int] = []
        """Given up since somebody last looked; whoever looks empties it."""
        self._spec = spec
        self._arrived = arrived
        self._factor = factor
        self._batch_s = spec.times.table(spec.largest)
        self._prepare_s = spec.times.prepare_ms / 1e3
        self._max_queue = math.inf if spec.here else spec.max_queue
        self._raw: deque[int] = deque()
        self._rows: deque[int] = deque()
        self._busy = 0

    @property
    def gauges(self) -> tuple[int, int]:
        """modelyard_queue_depth and modelyard_in_flight, as a scrape sees them."""
        return self.waiting, self.in_flight

    def offer(self, request: int, now: float) -> bool:
        """Queue a request; False: it is refused."""
        self._give_up(now)
        self.asked += 1
        if self.waiting and self.waiting + 1 > self._max_queue:
            return False
        (self._raw if self._prepare_s else self._rows).append(request)
        self.waiting += 1
        self.in_flight += 1
        return True

    def take(self, now: float) -> Unit | None:
        """Work for a free lane, which has it from now on; None: there is no lane, or no work."""
        free = self._spec.lanes - self._busy
        if not free:
            return None
        self._give_up(now)
        if self._raw and len(self._rows) < self._spec.largest:
            unit = Unit((self._raw.popleft(),), is_batch=False, seconds=self._prepare_s * self._factor())
        elif self._rows:
            size = min(-(-len(self._rows) // free), self._spec.largest)
            entries = tuple([self._rows.popleft() for _ in range(size)])
            unit = Unit(entries, is_batch=True, seconds=self._batch_s[size] * self._factor())
        else:
            return None
        self.waiting -= len(unit.entries)
        self._busy += 1
        return unit

    def finish(self, unit: Unit) -> None:
        """A lane is done: a batch is answered, an input waits as a row."""
        self._busy -= 1
        if unit.is_batch:
            self.in_flight -= len(unit.entries)
        else:
            self._rows.append(unit.entries[0])
            self.waiting += 1

    def _give_up(self, now: float) -> None:
        """Requests come in the order of their deadlines, so that the late ones are in front."""
        for queue in (self._rows, self._raw):
            while queue and now > self._arrived[queue[0]] + self._spec.timeout_s:
                self.late.append(queue.popleft())
                self.waiting -= 1
                self.in_flight -= 1
