"""When a user sends: arrivals that nobody holds back, an even beat, or one after the other.

A closed loop asks less the slower the service gets, and so never sees what people who come anyway would see
(coordinated omission). Poisson arrivals come when they come, and their times count from then. Knows clocks. Knows
nothing of requests.
"""

import random
import time

POISSON, CONSTANT, CLOSED = "poisson", "constant", "closed"
PACINGS = (POISSON, CONSTANT, CLOSED)


class Arrivals:
    """Moments at which one user's requests fall due."""

    def __init__(self, pacing: str, rate: float, start: float, rng: random.Random) -> None:
        """`rate` is in requests a second; `start` and all moments are seconds of the epoch."""
        self._pacing = pacing
        self._rate = rate
        self._rng = rng
        self.due = start + self._first_gap_s()

    @property
    def is_open(self) -> bool:
        """Whether requests are sent without waiting for the answers before."""
        return self._pacing == POISSON

    def wait_s(self, now: float) -> float:
        """How long until the next request is to be sent."""
        return max(0.0, self.due - now)

    def take(self, now: float) -> float:
        """The moment from which this request's time counts; the next one falls due."""
        if self._pacing == CLOSED:
            return now
        due = self.due
        if self._pacing == POISSON:
            self.due += self._rng.expovariate(self._rate)
            return due
        # An even beat that an answer held up goes on from now: what was missed is not made up for.
        self.due = max(due + 1 / self._rate, now)
        return now

    def _first_gap_s(self) -> float:
        if self._pacing == CLOSED:
            return 0.0
        return self._rng.expovariate(self._rate) if self._pacing == POISSON else self._rng.random() / self._rate


def now() -> float:
    """Seconds of the epoch: moments of several processes and of the server's log can be compared."""
    return time.time()
