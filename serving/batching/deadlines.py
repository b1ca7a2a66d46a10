"""The one clock of a queue: it rings when the earliest deadline of what waits has passed.

A timer a request would cost more than the rest of queueing it. Belongs to the event loop. Knows time. Knows nothing of
requests.
"""

import asyncio
import math
from collections.abc import Callable

from serving.batching.call import now

LOOK_AGAIN_S = 0.02
"""Of requests whose time is up while a lane has one of their inputs in hand."""


class Deadlines:
    """Looks when a deadline has passed, and not before."""

    def __init__(self, look: Callable[[], float]) -> None:
        """`look` answers those whose time is up, and says when the next one's will be; infinite where none waits."""
        self._look = look
        self._clock: asyncio.TimerHandle | None = None
        self._next = math.inf

    def add(self, deadline: float, loop: asyncio.AbstractEventLoop) -> None:
        """Look then at the latest."""
        if deadline >= self._next:
            return
        if self._clock is not None:
            self._clock.cancel()
        self._next = deadline
        self._clock = loop.call_later(max(0.0, deadline - now()), self._ring, loop)

    def close(self) -> None:
        """Let go of whoever looks: the clock would keep all of it until it rings."""
        if self._clock is not None:
            self._clock.cancel()
        self._look = _nobody

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._clock, self._next = None, math.inf
        earliest = self._look()
        if earliest < math.inf:
            self.add(max(earliest, now() + LOOK_AGAIN_S), loop)


def _nobody() -> float:
    return math.inf
