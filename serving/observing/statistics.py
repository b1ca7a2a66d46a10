"""What /v2 tells of a version's past: integers, true over all processes that serve the port.

Read from the same counters as /metrics; another process's are up to 100 ms old. Knows our families by name and the
protocol's words. Knows nothing of HTTP or gRPC.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypedDict

from prometheus_client import Metric

from serving.observing.metrics import Metrics

NS = 1e9
DURATIONS = {
    "queue": ("queue",),
    "compute_input": ("prepare",),
    "compute_infer": ("compute",),
    "compute_output": ("decode", "encode"),
}
"""The protocol's word -> phases."""


class Duration(TypedDict):
    """How often, and how long in all."""

    count: int
    ns: int


class BatchStatistics(TypedDict):
    """Batches of one size. Inputs are prepared and answers made apart, a request at a time: no time of theirs here."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class ModelStatistics(TypedDict):
    """One version."""

    name: str
    version: str
    last_inference: int
    """Milliseconds since 1970; 0 where there was none."""
    inference_count: int
    """Inputs."""
    execution_count: int
    """Batches."""
    inference_stats: dict[str, Duration]
    batch_stats: list[BatchStatistics]


@dataclass
class Figures:
    """One version's samples, by sample name without `modelyard_` and by the label that is left; "" where none is."""

    values: dict[tuple[str, str], float] = field(default_factory=dict)

    def get(self, name: str, label: str = "") -> float:
        """One figure; 0 where nothing was counted yet."""
        return self.values.get((name, label), 0.0)

    def duration(self, count: float, seconds: float) -> Duration:
        """As the protocol writes it."""
        return {"count": round(count), "ns": round(seconds * NS)}


def statistics(metrics: Metrics, versions: Iterable[tuple[str, int]]) -> list[ModelStatistics]:
    """The statistics of these versions (model, number), in their order."""
    figures = _by_version(metrics.collect())
    return [_statistics(name, str(number), figures.get((name, str(number)), Figures())) for name, number in versions]


def _by_version(families: Iterable[Metric]) -> dict[tuple[str, str], Figures]:
    found: dict[tuple[str, str], Figures] = {}
    for sample in (sample for family in families for sample in family.samples):
        labels = dict(sample.labels)
        if not sample.name.startswith("modelyard_") or "version" not in labels:
            continue
        figures = found.setdefault((labels.pop("model"), labels.pop("version")), Figures())
        figures.values[sample.name.removeprefix("modelyard_"), "".join(labels.values())] = sample.value
    return found


def _statistics(name: str, version: str, figures: Figures) -> ModelStatistics:
    batches = _batches(figures)
    return {
        "name": name,
        "version": version,
        "last_inference": round(figures.get("last_inference_timestamp_seconds") * 1000),
        "inference_count": round(figures.get("version_instances_total")),
        "execution_count": sum(batch["compute_infer"]["count"] for batch in batches),
        "inference_stats": _inference(figures),
        "batch_stats": batches,
    }


def _inference(figures: Figures) -> dict[str, Duration]:
    stats = {
        word: figures.duration(
            figures.get("version_requests_total", outcome), figures.get("version_request_seconds_total", outcome)
        )
        for word, outcome in (("success", "success"), ("fail", "failure"))
    }
    for word, phases in DURATIONS.items():
        counts = [figures.get("version_phases_total", phase) for phase in phases]
        seconds = [figures.get("version_phase_seconds_total", phase) for phase in phases]
        stats[word] = figures.duration(max(counts), sum(seconds))
    nothing = figures.duration(0, 0)  # there is no cache of answers
    return stats | {"cache_hit": nothing, "cache_miss": nothing}


def _batches(figures: Figures) -> list[BatchStatistics]:
    sizes = sorted(int(rows) for name, rows in figures.values if name == "version_batches_total")
    return [
        {
            "batch_size": size,
            "compute_input": figures.duration(0, 0),
            "compute_infer": figures.duration(
                figures.get("version_batches_total", str(size)), figures.get("version_batch_seconds_total", str(size))
            ),
            "compute_output": figures.duration(0, 0),
        }
        for size in sizes
    ]
