"""Rows that run on the event loop: those that came in one turn of it run together when the turn is over.

Knows jobs and the event loop. Knows nothing of models.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from serving.batching.waiting import Job

Row = tuple[Job[Any], int]
"""A request, and which of its inputs."""


class Gathering:
    """What has come since it was last run."""

    def __init__(self, largest: int, max_delay_s: float, run: Callable[[list[Row]], None]) -> None:
        """`run` gets batches of rows of one shape, the most urgent first; `max_delay_s`: how long these may wait."""
        self.largest = largest
        self._max_delay_s = max_delay_s
        self._run = run
        self._rows: list[Row] = []
        self._flush_at: asyncio.Handle | None = None

    @property
    def number(self) -> int:
        """Rows that wait."""
        return len(self._rows)

    def add(self, job: Job[Any]) -> None:
        """Take all rows of a request."""
        self._rows += [(job, i) for i in range(len(job.inputs))]
        soon = not self._max_delay_s or len(self._rows) >= self.largest
        if self._flush_at is None:
            later = job.loop.call_later
            self._flush_at = job.loop.call_soon(self._flush) if soon else later(self._max_delay_s, self._flush)
        elif soon and isinstance(self._flush_at, asyncio.TimerHandle):
            self._flush_at.cancel()  # full before its time
            self._flush_at = job.loop.call_soon(self._flush)

    def close(self) -> None:
        """Let go of whoever runs batches; nothing waits."""
        self._run = _nobody

    def _flush(self) -> None:
        self._flush_at = None
        rows, self._rows = self._rows, []
        rows.sort(key=_urgency)
        for alike in _by_shape(rows):
            largest = self.largest  # running one may lower it
            for start in range(0, len(alike), largest):
                self._run(alike[start : start + largest])


def _nobody(rows: list[Row]) -> None:
    raise RuntimeError(f"{len(rows)} rows came after the end")


def _urgency(row: Row) -> tuple[int, int]:
    job, _ = row
    return job.call.priority, job.order


def _by_shape(rows: list[Row]) -> Iterator[list[Row]]:
    shapes: dict[object, list[Row]] = {}
    for job, i in rows:
        shapes.setdefault(job.shape(i), []).append((job, i))
    yield from shapes.values()
