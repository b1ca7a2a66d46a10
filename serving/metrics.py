"""What is counted and timed, for Prometheus: requests by route and code, and every phase of a request as a histogram.

Each application has a registry of its own. Knows prometheus_client. Knows nothing of what happens in a phase.
"""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for every counter, which nothing here reads

PHASE_BUCKETS_S = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)


class Metrics:
    """The service's figures."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "modelyard_requests", "HTTP requests by route and status code.", ["route", "code"], registry=self._registry
        )
        self._duration = Histogram(
            "modelyard_request_seconds",
            "From the first byte of a request to the last of its answer.",
            ["route"],
            buckets=PHASE_BUCKETS_S,
            registry=self._registry,
        )
        self._phases = Histogram(
            "modelyard_phase_seconds",
            "Time of a request's phases: parse, prepare, compute, decode.",
            ["model", "phase"],
            buckets=PHASE_BUCKETS_S,
            registry=self._registry,
        )
        self._instances = Counter(
            "modelyard_instances", "Inputs answered, by model.", ["model"], registry=self._registry
        )
        self._ready = Gauge(
            "modelyard_model_ready", "1 where a model answers, 0 where it is refused.", ["model", "version"],
            registry=self._registry,
        )  # fmt: skip

    def exposition(self) -> bytes:
        """All figures as Prometheus reads them."""
        return generate_latest(self._registry)

    def count_request(self, route: str, code: int, seconds: float) -> None:
        """Count one answered request."""
        self._requests.labels(route, str(code)).inc()
        self._duration.labels(route).observe(seconds)

    def count_instances(self, model: str, number: int) -> None:
        """Count inputs that were answered."""
        self._instances.labels(model).inc(number)

    def model_ready(self, model: str, version: int, ready: bool) -> None:
        """Record whether a model answers."""
        self._ready.labels(model, str(version)).set(ready)

    def model(self, name: str, version: int) -> "ModelMetrics":
        """The figures of one model version."""
        return ModelMetrics(self, name, version)

    def phase_seconds(self, model: str, phase: str, seconds: float) -> None:
        """Time one phase of one request."""
        self._phases.labels(model, phase).observe(seconds)


class ModelMetrics:
    """One model version's figures."""

    def __init__(self, metrics: Metrics, name: str, version: int) -> None:
        self._metrics = metrics
        self._name = name

    def answered(self, phases: dict[str, float], rows: int, seconds: float) -> None:
        """One request was answered."""
        for phase, one in phases.items():
            self._metrics.phase_seconds(self._name, phase, one)
        self._metrics.count_instances(self._name, rows)

    def failed(self, reason: str, phases: dict[str, float], seconds: float) -> None:
        """One request failed."""

    def batch(self, size: int, compute_s: float) -> None:
        """One batch was computed."""

    def shed(self) -> None:
        """A request was refused at once."""

    def deadline_drop(self) -> None:
        """A request was dropped before compute: too late."""

    def gone_drop(self) -> None:
        """A request was dropped before compute: its client has left."""
