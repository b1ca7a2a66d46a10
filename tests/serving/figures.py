"""Reading what Metrics shows, as a scraper would."""

from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from serving.observing.metrics import Metrics


@dataclass(eq=False)
class Queue:
    """A queue that says what it is told."""

    queue_depth: int = 0
    in_flight: int = 0
    queue_limit: int = 16


def families_of(exposition: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(exposition)}


def samples_of(exposition: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Sample name -> label values in the order of the labels' names -> figure."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in families_of(exposition).values():
        for sample in family.samples:
            values = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[values] = sample.value
    return found


def shown(metrics: Metrics) -> dict[str, dict[tuple[str, ...], float]]:
    """What a scrape of these figures shows now."""
    return samples_of(metrics.exposition()[0].decode())
