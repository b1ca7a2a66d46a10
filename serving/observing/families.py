"""Every figure that Prometheus gets, by name, with its labels and its help: the table that the docs page repeats.

A label never holds what a client can choose freely: routes are templates, models are those of the repository. Knows
prometheus_client. Knows nothing of who counts.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge

from serving.observing.tallies import BulkHistogram

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
BRIGHTNESS = tuple(float(edge) for edge in range(16, 256, 16))
TOKENS = (8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)

Mode = Literal["livesum", "livemin", "livemax", "livemostrecent", "max"]
"""What a gauge shows where several processes serve: the sum, the least, the most or the newest of those that live, or
the most of all that ever were."""


FamilyT = TypeVar("FamilyT", Counter, Gauge)


class Family(NamedTuple):
    """What a scrape shows of one family besides its samples."""

    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    text: str


class Families:
    """The families of one service, in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.table: dict[str, Family] = {}
        """Name, as a scrape shows it -> what it is."""
        self._of_versions: list[Counter | Gauge] = []
        self._requests()
        self._process()
        self._models()
        self._versions()
        self._drift()

    def _requests(self) -> None:
        self.build_info = self._gauge("build_info", "1, with the release of Modelyard that runs.", "livemax", "release")
        self.requests = self._counter("requests", "Requests answered, by route and status code.", "route", "code")
        self.request_seconds = self._histogram(
            "request_seconds", "From the head of a request to the last byte of its answer.", SECONDS, "route"
        )

    def _process(self) -> None:
        self.repository_readable = self._gauge(
            "repository_readable", "1 where the last look at the model repository could read it, else 0.", "livemin"
        )
        self.log_lines_lost = self._counter("log_lines_lost", "Lines of the log dropped since nobody read them.")

    def _models(self) -> None:
        model = "model"
        self.phase_seconds = self._histogram(
            "phase_seconds", "Time that a request spent in each phase.", SECONDS, model, "phase"
        )
        self.batch_rows = self._histogram("batch_rows", "Inputs in a batch.", ROWS, model)
        self.batches = self._counter("batches", "Batches computed.", model)
        self.instances = self._counter("instances", "Inputs answered.", model)
        self.failures = self._counter("failures", "Requests for a model that failed, by error code.", model, "reason")
        self.shed = self._counter("shed", "Requests refused at once since the queue was full.", model)
        self.deadline_drops = self._counter("deadline_drops", "Requests dropped: late before compute.", model)
        self.gone_drops = self._counter("client_gone_drops", "Requests dropped: the client left before compute.", model)
        self.golden_failures = self._counter("golden_failures", "Golden inputs answered wrong, or not at all.", model)
        self.out_of_memory = self._counter("out_of_memory", "Batches that the device's memory did not hold.", model)
        self.load_failures = self._counter("load_failures", "Versions that were refused when they were loaded.", model)
        self.queue_depth = self._gauge("queue_depth", "Inputs that wait for a batch.", "livesum", model)
        self.queue_limit = self._gauge("queue_limit", "Inputs that may wait; one more is refused.", "livesum", model)
        self.in_flight = self._gauge("in_flight", "Requests between their head and their answer.", "livesum", model)

    def _versions(self) -> None:
        labels = ("model", "version")
        self.ready = self._gauge("model_ready", "1 where a version answers, 0 where it does not.", "livemin", *labels)
        self.model_info = self._gauge(
            *("model_info", "1, with what a version runs as.", "livemax", *labels),
            *("runtime", "artefact", "precision", "device"),
        )
        self.engine_fallback = self._gauge(
            "engine_fallback",
            "1 where a version runs as a fallback.",
            "livemax",
            *labels,
        )
        self.version_requests = self._counter(
            "version_requests", "Requests for a version, by outcome: success or failure.", *labels, "outcome"
        )
        self.version_request_seconds = self._counter(
            "version_request_seconds", "Whole time of these requests.", *labels, "outcome"
        )
        self.version_phases = self._counter("version_phases", "Phases gone through, by version.", *labels, "phase")
        self.version_phase_seconds = self._counter("version_phase_seconds", "Time in each phase.", *labels, "phase")
        self.version_instances = self._counter("version_instances", "Inputs answered, by version.", *labels)
        self.version_batches = self._counter("version_batches", "Batches, by version and size.", *labels, "rows")
        self.version_batch_seconds = self._counter(
            "version_batch_seconds", "Time that these batches took to compute.", *labels, "rows"
        )
        self.last_inference = self._gauge(
            "last_inference_timestamp_seconds", "When a version last answered, in seconds since 1970.", "max", *labels
        )
        self.canary_requests = self._counter(
            "canary_requests", "Inputs that a version on trial answered besides the one that serves.", *labels
        )
        self.canary_disagreements = self._counter(
            "canary_disagreements", "Such answers that do not agree with the one that was given.", *labels
        )
        self.canary_failures = self._counter("canary_failures", "Such inputs that it did not answer.", *labels)

    def _drift(self) -> None:
        labels = ("model", "statistic")
        self.drift_psi = self._gauge(
            "drift_psi", "Population stability index of answers against the test split.", "livemostrecent", *labels
        )
        self.drift_samples = self._gauge("drift_samples", "Answers in the window of drift.", "livesum", "model")
        self.inputs = self._gauge("input", "Mean of an input statistic over the window.", "livemostrecent", *labels)
        self.input_brightness = self._histogram(
            "input_brightness", "Mean pixel value, 0 to 255, of sampled pictures.", BRIGHTNESS, "model"
        )
        self.input_tokens = self._histogram("input_tokens", "Tokens in sampled texts.", TOKENS, "model")

    def remove_version(self, model: str, version: int) -> None:
        """Take away what is shown of one version alone; not possible where processes share their figures."""
        for family in self._of_versions:
            family.remove_by_labels({"model": model, "version": str(version)})

    def remove_drift(self, model: str) -> None:
        """Take away the gauges of drift of one model."""
        for family in (self.drift_psi, self.drift_samples, self.inputs):
            family.remove_by_labels({"model": model})

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        self.table[f"modelyard_{name}_total"] = Family("counter", labels, text)
        family = Counter(f"modelyard_{name}", text, labels, registry=self._registry)
        return self._noted(family, labels)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> BulkHistogram:
        self.table[f"modelyard_{name}"] = Family("histogram", labels, text)
        return BulkHistogram(f"modelyard_{name}", text, labels, buckets=buckets, registry=self._registry)

    def _gauge(self, name: str, text: str, mode: Mode, *labels: str) -> Gauge:
        self.table[f"modelyard_{name}"] = Family("gauge", labels, text)
        family = Gauge(f"modelyard_{name}", text, labels, registry=self._registry, multiprocess_mode=mode)
        return self._noted(family, labels)

    def _noted(self, family: FamilyT, labels: tuple[str, ...]) -> FamilyT:
        if "version" in labels:
            self._of_versions.append(family)
        return family
