"""What a step cost, by the service's own figures: the difference of two scrapes.

Knows the names of figures. Knows nothing of who scraped.
"""

from collections import defaultdict
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

BATCHES, BATCH_SECONDS = "modelyard_version_batches_total", "modelyard_version_batch_seconds_total"


@dataclass(frozen=True)
class Batches:
    """By number of rows."""

    number: dict[int, float]
    seconds: dict[int, float]

    @property
    def mean_rows(self) -> float:
        """Of a batch; 0 where there were none."""
        total = sum(self.number.values())
        return sum(rows * number for rows, number in self.number.items()) / total if total else 0.0

    def mean_ms(self, least: int = 1) -> dict[int, float]:
        """Of a batch, by its rows, where at least so many were seen."""
        seen = [rows for rows, number in sorted(self.number.items()) if number >= least]
        return {rows: 1e3 * self.seconds[rows] / self.number[rows] for rows in seen}


def batches(page: str, before: str = "") -> Batches:
    """Of all models together, since an earlier page."""
    number, seconds = _by_rows(page, BATCHES), _by_rows(page, BATCH_SECONDS)
    earlier, earlier_s = _by_rows(before, BATCHES), _by_rows(before, BATCH_SECONDS)
    more = {rows: count - earlier.get(rows, 0.0) for rows, count in number.items()}
    return Batches(
        {rows: count for rows, count in more.items() if count > 0},
        {rows: seconds.get(rows, 0.0) - earlier_s.get(rows, 0.0) for rows, count in more.items() if count > 0},
    )


def _by_rows(page: str, name: str) -> dict[int, float]:
    found: dict[int, float] = defaultdict(float)
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == name:
                found[int(sample.labels["rows"])] += sample.value
    return dict(found)
