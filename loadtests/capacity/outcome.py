"""What became of simulated requests, and whether an objective held.

Knows latencies and outcomes. Knows nothing of how they came about.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class End(IntEnum):
    """Of one request."""

    ANSWERED = 0
    SHED = 1
    """Refused at once: 503."""
    LATE = 2
    """Its time was up before it was computed: 504."""
    LOST = 3
    """Its pod died, or was dead already."""


@dataclass(frozen=True)
class Objective:
    """Of every so many seconds, at most a share of the requests may take longer than a limit, or get no answer."""

    limit_ms: float
    share: float = 0.01
    window_s: float = 60.0


@dataclass(frozen=True)
class Outcome:
    """Of one simulation."""

    arrived_s: Floats
    latency_s: Floats
    """Infinite where there was no answer."""
    ends: npt.NDArray[np.int8]
    batches: Counter[int] = field(default_factory=Counter)
    """Rows of a batch -> how many there were."""
    pods: tuple[tuple[float, int, int], ...] = ()
    """(second, pods that are ready, pods that are wanted), at each change."""
    scraped: tuple[tuple[float, int, int], ...] = ()
    """(second, queue_depth, in_flight) of a pod, at each scrape; there are none without an HPA."""

    def percentile_ms(self, share: float) -> float:
        """Of answered requests; not a number where there are none."""
        answered = self.latency_s[self.ends == End.ANSWERED]
        return float(np.quantile(answered, share)) * 1e3 if len(answered) else float("nan")

    def share_of(self, end: End) -> float:
        """Of all requests."""
        return float(np.mean(self.ends == end)) if len(self.ends) else 0.0

    def bad(self, limit_ms: float) -> npt.NDArray[np.bool_]:
        """Requests that took longer, or got no answer."""
        return self.latency_s > limit_ms / 1e3

    def share_bad(self, limit_ms: float) -> float:
        """Of all requests."""
        return float(np.mean(self.bad(limit_ms))) if len(self.latency_s) else 0.0

    def worst_window(self, objective: Objective) -> float:
        """The largest share of bad requests in any window that is whole; windows lie side by side."""
        if not len(self.arrived_s):
            return 0.0
        window = (self.arrived_s / objective.window_s).astype(int)
        number, bad = np.bincount(window), np.bincount(window, weights=self.bad(objective.limit_ms))
        seen = number > 0
        return float(np.max(bad[seen] / number[seen]))

    def holds(self, objective: Objective) -> bool:
        """Whether the objective held all the time."""
        return self.worst_window(objective) <= objective.share

    @property
    def mean_batch(self) -> float:
        """Rows."""
        rows = sum(size * number for size, number in self.batches.items())
        return rows / max(1, sum(self.batches.values()))

    @property
    def most_pods(self) -> int:
        """That were ready at once."""
        return max((ready for _, ready, _ in self.pods), default=0)
