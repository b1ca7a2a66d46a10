"""What is counted and timed of one model version, by calls that cost a fraction of a microsecond.

All of them are for the event loop's thread; nothing reaches Prometheus before `push`. Knows the names of phases and
families. Knows nothing of what happens in a phase, or of HTTP.
"""

import time
from bisect import bisect_left
from collections.abc import Mapping
from typing import Protocol
from weakref import ref

from serving.batching.call import PHASES
from serving.observing.families import ROWS, SECONDS, Families
from serving.observing.tallies import Count, Tally


class Queue(Protocol):
    """Where inputs of one version wait."""

    @property
    def queue_depth(self) -> int:
        """Inputs that wait for a batch."""
        ...

    @property
    def queue_limit(self) -> int:
        """Inputs that may wait."""
        ...

    @property
    def in_flight(self) -> int:
        """Requests that are not answered yet."""
        ...


class ModelMetrics:
    """One version's figures."""

    def __init__(self, families: Families, name: str, version: int) -> None:
        self.name, self.version = name, version
        self._queues: tuple[ref[Queue], ...] = ()
        self._families = families
        self._changed = False
        self._phases = {phase: Tally(SECONDS) for phase in PHASES}
        self._batch_rows = Tally(ROWS)
        self._batches: dict[int, list[float]] = {}  # rows -> [number of batches, their seconds]
        self._outcomes: dict[str, list[float]] = {"success": [0, 0.0], "failure": [0, 0.0]}  # requests, their seconds
        self._reasons: dict[str, int] = {}
        self._instances = 0
        self._shed = Count(families.shed.labels(name))
        self._deadline_drops = Count(families.deadline_drops.labels(name))
        self._gone_drops = Count(families.gone_drops.labels(name))
        self._golden_failures = Count(families.golden_failures.labels(name))
        self._out_of_memory = Count(families.out_of_memory.labels(name))
        self._counts = (
            *(self._shed, self._deadline_drops, self._gone_drops),
            *(self._golden_failures, self._out_of_memory),
        )

    def join(self, queue: Queue) -> None:
        """Ask this queue for its load from now on, until it leaves or is no more. May be called from any thread."""
        self._queues = (*self._queues, ref(queue))  # one assignment: whoever reads meanwhile has the old ones

    def leave(self, queue: Queue) -> None:
        """The queue takes no more requests."""
        self._queues = tuple(known for known in self._queues if known() not in (queue, None))

    @property
    def queues(self) -> list[Queue]:
        """Those that have joined and still are."""
        return [queue for known in self._queues if (queue := known()) is not None]

    def answered(self, phases: Mapping[str, float], rows: int, seconds: float) -> None:
        """One request was answered: its phases (any of PHASES), its inputs, and its whole time."""
        self._time(phases)
        self._instances += rows
        outcome = self._outcomes["success"]
        outcome[0] += 1
        outcome[1] += seconds

    def failed(self, reason: str, phases: Mapping[str, float], seconds: float) -> None:
        """One request failed, with an error code of `serving/errors.py`; phases up to the one that failed."""
        self._time(dict(phases))  # a copy: rows of it may still be on a thread that adds to them
        self._reasons[reason] = self._reasons.get(reason, 0) + 1
        outcome = self._outcomes["failure"]
        outcome[0] += 1
        outcome[1] += seconds

    def phase(self, name: str, seconds: float) -> None:
        """Time one phase alone, where `answered` cannot know of it."""
        self._changed = True
        self._phases[name].add(seconds)

    def batch(self, size: int, compute_s: float) -> None:
        """One batch was computed."""
        self._changed = True
        self._batch_rows.add(size)
        known = self._batches.get(size)
        if known is None:
            self._batches[size] = [1, compute_s]
        else:
            known[0] += 1
            known[1] += compute_s

    def rows(self, number: int) -> None:
        """Count inputs that were answered, where `answered` cannot know of them."""
        self._changed = True
        self._instances += number

    def out_of_memory(self) -> None:
        """The device's memory did not hold a batch."""
        self._changed = True
        self._out_of_memory.value += 1

    def shed(self) -> None:
        """A request was refused at once: the queue is full."""
        self._changed = True
        self._shed.value += 1

    def deadline_drop(self) -> None:
        """A request was dropped before compute: too late."""
        self._changed = True
        self._deadline_drops.value += 1

    def gone_drop(self) -> None:
        """A request was dropped before compute: its client has left."""
        self._changed = True
        self._gone_drops.value += 1

    def golden_failure(self) -> None:
        """A golden input was answered wrong, or not at all."""
        self._changed = True
        self._golden_failures.value += 1

    def canary(self, agrees: bool) -> None:
        """This version, on trial, answered besides the one that serves. Seldom enough to go straight through."""
        self._families.canary_requests.labels(self.name, str(self.version)).inc()
        self._families.canary_disagreements.labels(self.name, str(self.version)).inc(not agrees)

    def canary_failure(self) -> None:
        """This version, on trial, could not answer."""
        self._families.canary_failures.labels(self.name, str(self.version)).inc()

    def _time(self, phases: Mapping[str, float]) -> None:
        self._changed = True
        tallies = self._phases
        for phase, seconds in phases.items():  # Tally.add, without a call for each phase
            tally = tallies[phase]
            tally.counts[bisect_left(SECONDS, seconds)] += 1
            tally.total += seconds

    def push(self) -> None:
        """Add what is new to Prometheus' objects; nothing to do where nothing happened."""
        if not self._changed:
            return
        self._changed = False
        for count in self._counts:
            count.push()
        self._push_phases()
        self._push_batches()
        self._push_outcomes()

    def _push_phases(self) -> None:
        families, version = self._families, str(self.version)
        for phase, tally in self._phases.items():
            counts, total = tally.empty()
            number = sum(counts)
            if number:
                families.phase_seconds.labels(self.name, phase).add(counts, total)
                families.version_phases.labels(self.name, version, phase).inc(number)
                families.version_phase_seconds.labels(self.name, version, phase).inc(total)

    def _push_batches(self) -> None:
        families, version = self._families, str(self.version)
        batches, self._batches = self._batches, {}
        if not batches:
            return
        families.batch_rows.labels(self.name).add(*self._batch_rows.empty())
        families.batches.labels(self.name).inc(sum(number for number, _ in batches.values()))
        for size, (number, seconds) in batches.items():
            families.version_batches.labels(self.name, version, str(size)).inc(number)
            families.version_batch_seconds.labels(self.name, version, str(size)).inc(seconds)

    def _push_outcomes(self) -> None:
        families, version = self._families, str(self.version)
        if self._instances:
            families.instances.labels(self.name).inc(self._instances)
            families.version_instances.labels(self.name, version).inc(self._instances)
            self._instances = 0
        for reason, failed in self._reasons.items():
            families.failures.labels(self.name, reason).inc(failed)
        self._reasons.clear()
        if self._outcomes["success"][0]:
            families.last_inference.labels(self.name, version).set(time.time())
        for outcome, taken in self._outcomes.items():
            number, seconds = taken
            if number:
                families.version_requests.labels(self.name, version, outcome).inc(number)
                families.version_request_seconds.labels(self.name, version, outcome).inc(seconds)
                taken[:] = 0, 0.0
