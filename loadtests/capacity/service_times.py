"""How long a pod works: on a batch, by its size, and on an input before it may run.

From a bundle's latency table (`modelyard export` measures it) or from whatever else was measured. Knows milliseconds.
Knows nothing of queues.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from bundle.evidence import Latency


@dataclass(frozen=True)
class ServiceTimes:
    """Of one model on one kind of machine."""

    batch_ms: Mapping[int, float]
    """Rows of a batch -> milliseconds; straight between the sizes that are given."""
    prepare_ms: float = 0.0
    """Of every request, on the same processors: reading, preparing and answering."""
    spread: float = 0.0
    """Coefficient of variation: how far a unit of work is from its table, log-normal; 0: never."""
    exponential: bool = False
    """Units of work are as different as theory likes them, to compare with it; `spread` does not matter then."""

    def __post_init__(self) -> None:
        if not self.batch_ms or min(self.batch_ms) < 1 or min(self.batch_ms.values()) < 0:
            raise ValueError(f"{dict(self.batch_ms)}: expected sizes of at least 1, and milliseconds of at least 0")
        if self.prepare_ms < 0 or self.spread < 0:
            raise ValueError(f"prepare_ms {self.prepare_ms}, spread {self.spread}: expected 0 or more")

    def seconds(self, rows: int) -> float:
        """Of a batch; beyond the largest size that is known, what a row costs there."""
        sizes = sorted(self.batch_ms)
        above = next((size for size in sizes if size >= rows), None)
        if above is None:
            return self.batch_ms[sizes[-1]] * rows / sizes[-1] / 1e3
        below = max((size for size in sizes if size <= rows), default=above)
        if above == below:
            return self.batch_ms[above] / 1e3
        share = (rows - below) / (above - below)
        return (self.batch_ms[below] + share * (self.batch_ms[above] - self.batch_ms[below])) / 1e3

    def table(self, largest: int) -> list[float]:
        """Seconds by number of rows, 0 to `largest`."""
        return [0.0, *(self.seconds(rows) for rows in range(1, largest + 1))]

    def most_per_second(self, largest: int, lanes: int = 1) -> float:
        """What a pod answers where it never idles: full batches; inf where work takes no time."""
        busy_s = min(self.seconds(rows) / rows for rows in range(1, largest + 1)) + self.prepare_ms / 1e3
        return lanes / busy_s if busy_s else math.inf

    def to_reach(self, per_second: float, largest: int, lanes: int = 1) -> "ServiceTimes":
        """The same table with as much preparing as makes `per_second` the most that a pod answers.

        A table that alone is slower than that is stretched: it was measured on a slower machine.
        """
        bare = replace(self, prepare_ms=0.0)
        missing_ms = 1e3 * (lanes / per_second - lanes / bare.most_per_second(largest, lanes))
        if missing_ms >= 0:
            return replace(self, prepare_ms=missing_ms)
        share = bare.most_per_second(largest, lanes) / per_second
        return replace(bare, batch_ms={rows: ms * share for rows, ms in self.batch_ms.items()})


def of_evidence(latency: Latency) -> ServiceTimes:
    """The table of an artefact's evidence, without preparing."""
    return ServiceTimes(latency.median_ms)
