"""What a run of several steps saw, a ledger a step: a request belongs to the step in which it fell due.

The first moments of a step are left out, while Locust still adds users. Knows time and ledgers. Knows nothing of
Locust.
"""

from dataclasses import dataclass
from typing import Any

from loadtests.traffic.ledger import Ended, Ledger

SETTLE_S = 1.5
"""Locust looks once a second how many users there should be."""


@dataclass(frozen=True)
class Moment:
    """Beginning or end of what counts of a step."""

    second: float
    """Of the epoch."""
    busy_s: float
    """Processor time that the generator has used by then."""
    metrics: str
    """The service's page."""


class StepBook(Ledger):
    """A ledger that keeps a ledger for each step, and leaves out what is between."""

    def __init__(self, begin: float, seconds: float, steps: int) -> None:
        """`begin` is the second of the epoch at which the first step of `seconds` starts."""
        super().__init__()
        self.ledgers = [Ledger() for _ in range(steps)]
        self._begin, self._seconds = begin, seconds

    def step_of(self, due: float) -> int | None:
        """Which step a request that fell due then belongs to."""
        number, into = divmod(due - self._begin, self._seconds)
        return int(number) if 0 <= number < len(self.ledgers) and into >= SETTLE_S else None

    def bounds(self, step: int) -> tuple[float, float]:
        """Seconds of the epoch between which a step counts."""
        start = self._begin + step * self._seconds
        return start + SETTLE_S, start + self._seconds

    def note(self, ended: Ended) -> None:
        """One request, into the whole and into its step."""
        super().note(ended)
        step = self.step_of(ended.due)
        if step is not None:
            self.ledgers[step].note(ended)


def to_plain(book: StepBook, moments: list[tuple[Moment, Moment]]) -> list[dict[str, Any]]:
    """A step each, as JSON can hold it."""
    return [
        {"ledger": ledger.to_plain(), "begin": vars(begin), "end": vars(end)}
        for ledger, (begin, end) in zip(book.ledgers, moments, strict=False)
    ]


@dataclass(frozen=True)
class SeenStep:
    """One step, read back."""

    ledger: Ledger
    begin: Moment
    end: Moment

    @property
    def seconds(self) -> float:
        """That count."""
        return self.end.second - self.begin.second

    @property
    def generator_busy(self) -> float:
        """Share of a processor."""
        return (self.end.busy_s - self.begin.busy_s) / self.seconds


def from_plain(plain: list[dict[str, Any]]) -> list[SeenStep]:
    """What `to_plain` made."""
    return [SeenStep(Ledger.from_plain(one["ledger"]), Moment(**one["begin"]), Moment(**one["end"])) for one in plain]
