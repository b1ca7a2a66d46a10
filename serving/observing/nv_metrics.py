"""Triton's names for figures that are ours under other names, so that its dashboards and autoscalers work unchanged.

Made from our families at scrape; nothing is counted twice. Their type is `untyped`: as counters their names would have
to end in `_total`, and then they would not be Triton's. Knows both lists of names. Knows nothing of who counts.
"""

from collections.abc import Callable, Iterable

from prometheus_client import Metric
from prometheus_client.samples import Sample

MICRO = 1e6

NV_FAMILIES: dict[str, tuple[str, str, float, Callable[[dict[str, str]], bool]]] = {
    "nv_inference_request_success": (
        "Requests answered.",
        "modelyard_version_requests_total",
        1,
        lambda labels: labels["outcome"] == "success",
    ),
    "nv_inference_request_failure": (
        "Requests that failed.",
        "modelyard_version_requests_total",
        1,
        lambda labels: labels["outcome"] == "failure",
    ),
    "nv_inference_count": ("Inputs answered.", "modelyard_version_instances_total", 1, lambda _: True),
    "nv_inference_exec_count": ("Batches computed.", "modelyard_version_batches_total", 1, lambda _: True),
    "nv_inference_request_duration_us": (
        "Whole time of answered requests.",
        "modelyard_version_request_seconds_total",
        MICRO,
        lambda labels: labels["outcome"] == "success",
    ),
    "nv_inference_queue_duration_us": (
        "Time that requests waited for a batch.",
        "modelyard_version_phase_seconds_total",
        MICRO,
        lambda labels: labels["phase"] == "queue",
    ),
    "nv_inference_compute_input_duration_us": (
        "Time that requests were prepared.",
        "modelyard_version_phase_seconds_total",
        MICRO,
        lambda labels: labels["phase"] == "prepare",
    ),
    "nv_inference_compute_infer_duration_us": (
        "Time that requests were computed.",
        "modelyard_version_phase_seconds_total",
        MICRO,
        lambda labels: labels["phase"] == "compute",
    ),
    "nv_inference_compute_output_duration_us": (
        "Time that answers were decoded and encoded.",
        "modelyard_version_phase_seconds_total",
        MICRO,
        lambda labels: labels["phase"] in ("decode", "encode"),
    ),
    "nv_inference_pending_request_count": (
        "Inputs that wait for a batch; of all versions together.",
        "modelyard_queue_depth",
        1,
        lambda _: True,
    ),
}
"""Triton's name -> help, the sample that it is made of, its factor, and which of those samples count."""

KEPT = ("model", "version")


def nv_families(ours: Iterable[Metric]) -> list[Metric]:
    """Triton's families, from the samples of ours."""
    samples: dict[str, list[Sample]] = {}
    for family in ours:
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(sample)
    return [
        _family(name, text, [one for one in samples.get(source, []) if counts(one.labels)], factor)
        for name, (text, source, factor, counts) in NV_FAMILIES.items()
    ]


def _family(name: str, text: str, samples: list[Sample], factor: float) -> Metric:
    sums: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in samples:
        labels = tuple((label, sample.labels[label]) for label in KEPT if label in sample.labels)
        sums[labels] = sums.get(labels, 0.0) + sample.value * factor
    family = Metric(name, text, "unknown")
    for labels, value in sums.items():
        family.add_sample(name, dict(labels), round(value))
    return family
