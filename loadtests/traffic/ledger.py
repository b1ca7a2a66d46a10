"""What a run saw, counted so that it can be added up over processes, judged, and compared with the server's own count.

Locust's tables are for people; this is what thresholds read. Times are kept in buckets 2 % wide, so hours of soak take
no more memory than seconds. Knows outcomes. Knows nothing of Locust or of thresholds.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

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
    from_sent: Times = field(default_factory=Times)
    """The same from when it was sent: what a deadline bounds."""
    sheds: Times = field(default_factory=Times)
    """Of refusals."""
    late: int = 0
    """Good answers that came after the deadline that was sent with the request."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """Outcome -> a few of its reasons."""


class Ended(NamedTuple):
    """A request that has ended; moments are seconds of the epoch."""

    name: str
    """Of its case: family and form."""
    route: str
    status: int
    """0 where there was no answer."""
    outcome: Outcome
    why: str
    due: float
    sent: float
    came: float
    timeout_ms: float | None
    """What the request itself said that it may take."""


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

    def note(self, ended: Ended) -> None:
        """One request."""
        one = self.series.setdefault(ended.name, Series(ended.route))
        one.outcomes[ended.outcome] += 1
        if ended.status:
            one.codes[ended.status] += 1
        took_ms, answered_in_ms = (ended.came - ended.due) * 1e3, (ended.came - ended.sent) * 1e3
        self.lag.add((ended.sent - ended.due) * 1e3)
        self.due[int(ended.due)] += 1
        self.ended[int(ended.came)] += 1
        if ended.outcome == "good":
            one.times.add(took_ms)
            one.from_sent.add(answered_in_ms)
            one.late += ended.timeout_ms is not None and answered_in_ms > ended.timeout_ms
            self.good[int(ended.came)] += 1
            return
        if ended.outcome == "shed":
            one.sheds.add(took_ms)
        examples = one.examples.setdefault(ended.outcome, [])
        if len(examples) < EXAMPLES:
            examples.append(ended.why)

    def add(self, other: Self) -> None:
        """What another process saw."""
        for name, series in other.series.items():
            mine = self.series.setdefault(name, Series(series.route))
            mine.outcomes += series.outcomes
            mine.codes += series.codes
            mine.times.buckets += series.times.buckets
            mine.from_sent.buckets += series.from_sent.buckets
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
                    "from_sent": _texts(one.from_sent.buckets),
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
                Times(_numbers(one["from_sent"])),
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
