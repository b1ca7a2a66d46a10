"""The figures of the service -> what the statistics extension tells: the same source as /metrics, over all processes.

Knows the names of families. Knows nothing of who counts, or of HTTP and gRPC.
"""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import Metric

from serving.oip.statistics import Counts, Duration

Versions = dict[tuple[str, int], Counts]
"""(model, version) -> what it has done."""

Labels = Mapping[str, str]

NS = 1e9
PHASES = {"prepare": "prepare", "queue": "queue", "compute": "compute", "decode": "decode", "encode": "decode"}
"""Our phases -> the fields of Counts; for the protocol, decoding and encoding are one."""


def _request_count(counts: Counts, labels: Labels, value: float) -> None:
    _outcome(counts, labels).count += round(value)


def _request_seconds(counts: Counts, labels: Labels, value: float) -> None:
    _outcome(counts, labels).ns += round(value * NS)


def _phase_count(counts: Counts, labels: Labels, value: float) -> None:
    if labels["phase"] in PHASES.keys() - {"encode"}:
        _phase(counts, labels).count += round(value)


def _phase_seconds(counts: Counts, labels: Labels, value: float) -> None:
    if labels["phase"] in PHASES:
        _phase(counts, labels).ns += round(value * NS)


def _batch_count(counts: Counts, labels: Labels, value: float) -> None:
    counts.num_batches += round(value)
    _batch(counts, labels).count += round(value)


def _batch_seconds(counts: Counts, labels: Labels, value: float) -> None:
    _batch(counts, labels).ns += round(value * NS)


def _rows(counts: Counts, _: Labels, value: float) -> None:
    counts.num_rows += round(value)


def _last(counts: Counts, _: Labels, value: float) -> None:
    counts.last_inference_ms = round(value * 1e3)


READERS: dict[str, Callable[[Counts, Labels, float], None]] = {
    "modelyard_last_inference_timestamp_seconds": _last,
    "modelyard_version_instances_total": _rows,
    "modelyard_version_requests_total": _request_count,
    "modelyard_version_request_seconds_total": _request_seconds,
    "modelyard_version_phases_total": _phase_count,
    "modelyard_version_phase_seconds_total": _phase_seconds,
    "modelyard_version_batches_total": _batch_count,
    "modelyard_version_batch_seconds_total": _batch_seconds,
}
"""Sample -> where it belongs."""


def counted(families: Iterable[Metric]) -> Versions:
    """What every version has done."""
    versions: Versions = {}
    for family in families:
        for sample in family.samples:
            read = READERS.get(sample.name)
            if read is not None:
                key = sample.labels["model"], int(sample.labels["version"])
                read(versions.setdefault(key, Counts()), sample.labels, sample.value)
    return versions


def _outcome(counts: Counts, labels: Labels) -> Duration:
    return counts.success if labels["outcome"] == "success" else counts.fail


def _phase(counts: Counts, labels: Labels) -> Duration:
    duration: Duration = getattr(counts, PHASES[labels["phase"]])
    return duration


def _batch(counts: Counts, labels: Labels) -> Duration:
    return counts.batches.setdefault(int(labels["rows"]), Duration())
