"""A closed loop: callers that each run one batch after another, and how long each batch took; several loads in turns.

Knows callables and time. Knows nothing of engines or bundles.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier, BrokenBarrierError
from time import perf_counter

import numpy as np

from bundle.errors import OutOfMemory

Clock = Callable[[], float]
"""Seconds, for the thread that asks."""


ROUNDS = 4


@dataclass(frozen=True)
class Load:
    """What is run, and by how many at once."""

    run: Callable[[], object]
    callers: int


@dataclass
class Timed:
    """What one load gave, over all rounds."""

    batches_ms: list[float] = field(default_factory=list)
    """Each batch of each caller."""
    batches_per_s: list[float] = field(default_factory=list)
    """Of all callers together, a figure a round."""
    problem: str = ""
    """Why it could not be measured."""

    def add(self, other: "Timed") -> None:
        """Take in another round."""
        self.batches_ms += other.batches_ms
        self.batches_per_s += other.batches_per_s

    def quantile_ms(self, share: float) -> float:
        """The time that this share of the batches took at most: one that was measured, not one in between."""
        return float(np.quantile(self.batches_ms, share, method="inverted_cdf"))

    def median_per_s(self) -> float:
        """Batches per second in the middle round: one that somebody disturbed does not count."""
        return float(np.median(self.batches_per_s))


def in_turns(
    loads: Sequence[Load],
    seconds: float,
    goes_on: Callable[[Timed], bool],
    tell: Callable[[str], None],
    clock: Clock = perf_counter,
) -> list[Timed]:
    """Drive each load for so many seconds in all: in rounds, each in another order, so that noise comes to all of them.

    After the first round only those stay of which `goes_on` says so, or all where it says so of none. What the device
    has no memory for is left out.
    """
    timed = [Timed() for _ in loads]
    staying = list(range(len(loads)))
    for number in range(ROUNDS):
        began = perf_counter()
        for i in np.random.default_rng(number).permutation(staying).tolist():
            try:
                timed[i].add(drive(loads[i].run, loads[i].callers, seconds / ROUNDS, clock))
            except OutOfMemory as cause:
                timed[i] = Timed(problem=str(cause))
        measured = len(staying)
        staying = [i for i in staying if not timed[i].problem]
        if number == 0:
            staying = [i for i in staying if goes_on(timed[i])] or staying
        tell(f"round {number + 1} of {ROUNDS}: {measured} settings in {perf_counter() - began:.0f} s")
    return timed


def drive(run: Callable[[], object], callers: int, seconds: float, clock: Clock) -> Timed:
    """Let so many callers run batches side by side for a time; each first runs one that is not timed.

    A batch that has begun is finished and counts, so each caller has at least one.

    Raises:
        Exception: what a caller's `run` raised.
    """
    together = Barrier(callers)

    def call() -> list[float]:
        """Times on this caller's clock: when it began, and when each of its batches was done."""
        try:
            run()
        except BaseException:
            together.abort()
            raise
        together.wait()
        times = [clock()]
        while times[-1] - times[0] < seconds:
            run()
            times.append(clock())
        return times

    with ThreadPoolExecutor(callers, thread_name_prefix="modelyard-tune") as threads:
        began = [threads.submit(call) for _ in range(callers)]
    failures = [cause for one in began if (cause := one.exception()) is not None]
    for cause in failures:
        if not isinstance(cause, BrokenBarrierError):  # only that another caller gave up
            raise cause
    took_s = [np.diff(one.result()) for one in began]
    rate = sum(len(times) / times.sum() for times in took_s)
    return Timed([float(time) * 1e3 for times in took_s for time in times], [float(rate)])
