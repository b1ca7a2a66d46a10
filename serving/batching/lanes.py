"""Threads that do the work of all models, as many as there are processors, and the rule whose work is next: fairness.

Each model is a source of units of work (prepare one input, run one batch). A free lane takes from the source that has
had the least of the lanes so far (start-time fair queueing: a source that was idle starts level with the others, so it
neither saves up nor pays back). Hence the bound: work of a model that was idle begins as soon as any lane is free, that
is after at most one unit of another model, however long that one's queue is.

Knows threads and units. Knows nothing of models, batches or HTTP.
"""

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol

from serving.batching.call import now

Unit = Callable[[], None]
"""Work for one lane; raises nothing that anybody expects."""

log = logging.getLogger("modelyard.serving")


class Source(Protocol):
    """Where units come from. Every method is called with the lanes' lock held, and does little."""

    service_s: float
    """Seconds of lanes it has had, for fairness."""

    def ready(self) -> bool:
        """Whether `take` would give a unit."""
        ...

    def take(self, free_lanes: int, alone: bool) -> Unit:
        """The next unit. `free_lanes` counts the one that asks; `alone`: nothing else runs or waits."""
        ...


class Lanes:
    """A fixed number of worker threads over any number of sources."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.lock = threading.Lock()
        """Guards the sources' queues too: one lock, held for microseconds."""
        self._sources: list[Source] = []
        self._level_s = 0.0
        self._busy = 0
        self._asleep = 0
        self._tokens: SimpleQueue[bool] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._live, name=f"modelyard-lane-{i}", daemon=True) for i in range(number)
        ]
        for thread in self._threads:
            thread.start()

    def add(self, source: Source) -> None:
        """Take units from this source too."""
        with self.lock:
            source.service_s = self._level_s
            self._sources.append(source)

    def remove(self, source: Source) -> None:
        """Forget a source; what it had given out is finished."""
        with self.lock:
            self._sources.remove(source)

    def starts(self, source: Source) -> None:
        """Put a source that had no work level with the others. The lock is held."""
        source.service_s = max(source.service_s, self._level_s)

    def wake(self) -> None:
        """Say that there is work. The lock is held; costs next to nothing where every lane is at work already."""
        if self._asleep:
            self._asleep -= 1
            self._tokens.put(True)

    def num_busy_sources(self) -> int:
        """Sources that have work waiting, at least 1. The lock is held."""
        return max(1, sum(source.ready() for source in self._sources))

    def has_one_at_work(self) -> bool:
        """Whether the lane that asks is the only one with work. The lock is held."""
        return self._busy == 1

    def close(self) -> None:
        """Finish what runs, start no more, and end the threads."""
        for _ in self._threads:
            self._tokens.put(False)
        for thread in self._threads:
            thread.join()

    def _live(self) -> None:
        while True:
            with self.lock:
                source, unit = self._next()
                if source is None or unit is None:
                    self._asleep += 1
            if source is None or unit is None:
                if not self._tokens.get():
                    return
                continue
            start = now()
            try:
                unit()
            except Exception:
                log.exception("a unit of work failed where nothing should: its request may stay without an answer")
            with self.lock:
                self._busy -= 1
                source.service_s += now() - start

    def _next(self) -> tuple[Source, Unit] | tuple[None, None]:
        ready = [source for source in self._sources if source.ready()]
        if not ready:
            return None, None
        source = min(ready, key=_service)
        self._level_s = max(self._level_s, source.service_s)
        unit = source.take(self.number - self._busy, self._busy == 0 and len(ready) == 1)
        self._busy += 1
        if self._asleep and source.ready():
            self.wake()
        return source, unit


def _service(source: Source) -> float:
    return source.service_s
