"""What the same processors do without HTTP: (a) the engine alone; (b) decode + prepare + run + answer, by hand.

(b) is the referee's own function in a plain thread pool, so it holds what a request costs at least. Each is measured
with every sensible layout of threads, and the best one counts. Knows the referee's functions. Knows nothing of HTTP.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bundle.tensors import Tensors, stack
from loadtests import referee

Work = Callable[[int], Any]
"""The number of a turn -> done."""


@dataclass(frozen=True)
class Layout:
    """How threads are shared out."""

    callers: int
    """Threads that each carry a request of their own."""
    threads: int
    """Threads that share the work of one request."""
    spinning: bool = False
    """Whether threads of the engine wait by spinning."""

    def __str__(self) -> str:
        """As in the table."""
        return f"{self.callers} x {self.threads}{' spinning' if self.spinning else ''}"


@dataclass(frozen=True)
class Pace:
    """What one layout reached."""

    per_second: float
    p50_ms: float


def alone(cpus: int) -> list[Layout]:
    """One request at a time: all processors on it, or one."""
    return [Layout(1, 1), *([Layout(1, cpus), Layout(1, cpus, spinning=True)] if cpus > 1 else [])]


def together(cpus: int) -> list[Layout]:
    """As many requests as possible."""
    return [Layout(1, 1), Layout(cpus, 1)] if cpus > 1 else [Layout(1, 1)]


def engine(folder: Path, rows: Sequence[Tensors], layout: Layout) -> Work:
    """(a): the session, on rows that are ready."""
    batches = [stack([row]) for row in rows]
    run = partial(referee.session_of(folder, layout.threads, layout.spinning).run, None)
    return lambda turn: run(batches[turn % len(batches)])


def by_hand(folder: Path, bodies: Sequence[bytes], layout: Layout) -> Work:
    """(b): from a body to an answer."""
    answer = referee.load(folder, layout.threads, layout.spinning)
    return lambda turn: answer(bodies[turn % len(bodies)])


def measure(work: Work, layout: Layout, seconds: float) -> Pace:
    """Every caller does its turns as fast as it can."""
    end = time.perf_counter() + seconds

    def turns(first: int) -> list[float]:
        took, turn = [], first
        before = time.perf_counter()
        while before < end:
            work(turn)
            turn += 1
            now = time.perf_counter()
            took.append(now - before)
            before = now
        return took

    start = time.perf_counter()
    with ThreadPoolExecutor(layout.callers) as pool:
        took = [one for caller in pool.map(turns, range(layout.callers)) for one in caller]
    return Pace(len(took) / (time.perf_counter() - start), median(took) * 1e3)
