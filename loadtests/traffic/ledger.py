"""What a run saw, counted so that it can be added up over processes, judged, and compared with the server's own count.

Locust's tables are for people; this is what thresholds read. Times are kept in buckets 2 % wide, so hours of soak take
no more memory than seconds. Knows outcomes. Knows nothing of Locust or of thresholds.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from loadtests.traffic.case import Outcome

WIDTH = math.log(1.02)
FLOOR_MS = 0.01
EXAMPLES = 5
"""Problems that are kept in words, of each series."""


@dataclass
class Times:
    """Milliseconds, by bucket."""

    buckets: Counter[int] = field(default_factory=Counter)

    def add(self, ms: float) -> None:
        """One more."""
        self.buckets[round(math.log(max(ms, FLOOR_MS)) / WIDTH)] += 1

    @property
    def count(self) -> int:
        """How many."""
        return self.buckets.total()

    def percentile(self, share: float) -> float:
        """The time below which a share of them lies, within 1 %; not a number where there are none."""
        left = math.ceil(self.count * share)
        for bucket in sorted(self.buckets):
            left -= self.buckets[bucket]
            if left <= 0:
                return math.exp(bucket * WIDTH)
        return math.nan


@dataclass
class Series:
    """One family in one form."""

    route: str = ""
    outcomes: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    """Answers by status; requests without an answer are not among them."""
    times: Times = field(default_factory=Times)
    """Of good answers, from when the request was due."""
    sheds: Times = field(default_factory=Times)
    """Of refusals."""
    late: int = 0
    """Good answers that came after the deadline that was sent with the request."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """Outcome -> a few of its reasons."""


@dataclass
class Ledger:
    """All series, and the course of time."""

    series: dict[str, Series] = field(default_factory=dict)
    lag: Times = field(default_factory=Times)
    """How much later than due requests were sent: the generator's own slowness."""
    due: Counter[int] = field(default_factory=Counter)
    """Requests that fell due, by second of the epoch."""
    good: Counter[int] = field(default_factory=Counter)
    """Good answers that came, by second of the epoch."""
    ended: Counter[int] = field(default_factory=Counter)
    """Requests that ended in whatever way, by second of the epoch."""

    def note(
        self,
        name: str,
        route: str,
        status: int,
        outcome: Outcome,
        why: str,
        due: float,
        sent: float,
        came: float,
        timeout_ms: float | None,
    ) -> None:
        """One request, with the moments when it was due, was sent, and was answered (seconds of the epoch)."""
        one = self.series.setdefault(name, Series(route))
        one.outcomes[outcome] += 1
        if status:
            one.codes[status] += 1
        took_ms = (came - due) * 1e3
        self.lag.add((sent - due) * 1e3)
        self.due[int(due)] += 1
        self.ended[int(came)] += 1
        if outcome == "good":
            one.times.add(took_ms)
            one.late += timeout_ms is not None and (came - sent) * 1e3 > timeout_ms
            self.good[int(came)] += 1
            return
        if outcome == "shed":
            one.sheds.add(took_ms)
        examples = one.examples.setdefault(outcome, [])
        if len(examples) < EXAMPLES:
            examples.append(why)

    def add(self, other: Self) -> None:
        """What another process saw."""
        for name, series in other.series.items():
            mine = self.series.setdefault(name, Series(series.route))
            mine.outcomes += series.outcomes
            mine.codes += series.codes
            mine.times.buckets += series.times.buckets
            mine.sheds.buckets += series.sheds.buckets
            mine.late += series.late
            for outcome, examples in series.examples.items():
                mine.examples[outcome] = [*mine.examples.get(outcome, []), *examples][:EXAMPLES]
        self.lag.buckets += other.lag.buckets
        self.due += other.due
        self.good += other.good
        self.ended += other.ended

    def of(self, family: str) -> Series:
        """All forms of a family as one series."""
        return joined(series for name, series in self.series.items() if name.split(" ")[0] == family)

    @property
    def families(self) -> list[str]:
        """Those that were asked."""
        return list(dict.fromkeys(name.split(" ")[0] for name in self.series))

    @property
    def whole(self) -> Series:
        """All as one series."""
        return joined(self.series.values())

    def by_route(self) -> dict[tuple[str, int], int]:
        """Answers by (route, status)."""
        found: Counter[tuple[str, int]] = Counter()
        for series in self.series.values():
            for status, count in series.codes.items():
                found[series.route, status] += count
        return dict(found)

    def to_plain(self) -> dict[str, Any]:
        """As JSON and msgpack can hold it."""
        return {
            "series": {
                name: {
                    "route": one.route,
                    "outcomes": dict(one.outcomes),
                    "codes": _texts(one.codes),
                    "times": _texts(one.times.buckets),
                    "sheds": _texts(one.sheds.buckets),
                    "late": one.late,
                    "examples": one.examples,
                }
                for name, one in self.series.items()
            },
            "lag": _texts(self.lag.buckets),
            "due": _texts(self.due),
            "good": _texts(self.good),
            "ended": _texts(self.ended),
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """What `to_plain` made."""
        seconds = {name: _numbers(plain[name]) for name in ("due", "good", "ended")}
        ledger = cls(lag=Times(_numbers(plain["lag"])), **seconds)
        for name, one in plain["series"].items():
            ledger.series[name] = Series(
                one["route"],
                Counter(one["outcomes"]),
                _numbers(one["codes"]),
                Times(_numbers(one["times"])),
                Times(_numbers(one["sheds"])),
                one["late"],
                one["examples"],
            )
        return ledger


def joined(all_series: Iterable[Series]) -> Series:
    """Several as one."""
    ledger = Ledger()
    for one in all_series:
        ledger.add(Ledger({"all": one}))
    return ledger.series.get("all", Series())


def _texts(counts: Counter[int]) -> dict[str, int]:
    return {str(key): count for key, count in counts.items()}


def _numbers(counts: dict[str, int]) -> Counter[int]:
    return Counter({int(key): count for key, count in counts.items()})
