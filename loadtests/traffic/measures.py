"""From a ledger to the numbers that thresholds name.

Knows ledgers and profiles. Knows nothing of limits.
"""

import math

from loadtests.traffic.ledger import Ledger, Series
from loadtests.traffic.profiles import Profile

PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
WARM_UP_S, WIND_DOWN_S = 3, 1
"""Of a shape's beginning and end, which count for no rate."""


def family_measures(series: Series, calm: Series | None) -> dict[str, float]:
    """Of one family, or of all together; `calm` is the same in the calm part."""
    outcomes, total = series.outcomes, series.outcomes.total()
    measured: dict[str, float] = {name: outcomes[name] for name in ("wrong", "failed", "unanswered")}
    measured["shed_share"] = measured["shed_share_least"] = _over(outcomes["shed"], total)
    measured["answered_share"] = _over(outcomes["good"], total)
    measured["late_share"] = _over(series.late, outcomes["good"])
    median = calm.times.percentile(0.5) if calm else math.nan
    for name, share in PERCENTILES.items():
        measured[f"{name}_ms"] = series.times.percentile(share)
        measured[f"{name}_over_calm"] = _over(measured[f"{name}_ms"], median)
    return measured


def rate(ledger: Ledger) -> float:
    """Good answers a second, without beginning and end; not a number where the run was too short."""
    if not ledger.due:
        return math.nan
    first, last = min(ledger.due) + WARM_UP_S, max(ledger.due) - WIND_DOWN_S
    seconds = range(first, last)
    return _over(sum(ledger.good[second] for second in seconds), len(seconds))


def recovery_s(ledger: Ledger, profile: Profile) -> float:
    """Seconds after the second stage until no more requests are under way than in the first; infinite where never.

    Under way is what fell due and has not ended, at the end of a second.
    """
    if len(profile.stages) < 3 or not ledger.due:
        return math.nan
    start, (_, burst_s, after_s, *_) = min(ledger.due), profile.starts_s()
    under_way = outstanding(ledger)
    before = max((under_way[second] for second in under_way if second < start + int(burst_s)), default=0)
    for second in sorted(under_way):
        if second >= start + int(after_s) and under_way[second] <= before:
            return second - start - int(after_s)
    return math.inf


def outstanding(ledger: Ledger) -> dict[int, int]:
    """By second: how many requests are under way at its end."""
    if not ledger.due:
        return {}
    found, open_now = {}, 0
    for second in range(min(ledger.due), max(ledger.ended) + 1):
        open_now += ledger.due[second] - ledger.ended[second]
        found[second] = open_now
    return found


def _over(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
