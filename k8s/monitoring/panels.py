"""What the dashboard shows: rows of panels, each with its queries, unit, legend and the reason why one looks at it.

Knows PromQL and our figures. Knows nothing of Grafana's JSON: dashboard.py does.
"""

from typing import Literal, NamedTuple

NS = 'namespace=~"$namespace"'
OF = f'{NS}, model=~"$model"'
ANSWERED = f'{OF}, outcome="success"'
COMPUTED = f'{OF}, phase="compute"'
ASKED = (
    'route=~"/v1/(classify|segment|detect|anomaly|series/anomaly|text/classify|text/embed|embeddings)'
    '|/v2/models/.+/infer|grpc:ModelInfer"'
)
"""Questions to models, without streams, as rules.yaml has it."""
RATE = "[$__rate_interval]"

Unit = Literal["", "s", "reqps", "percentunit", "bytes", "watt", "celsius", "short", "none", "ops"]


class Query(NamedTuple):
    """One line, or one for each set of labels."""

    expr: str
    legend: str


class Panel(NamedTuple):
    """One picture."""

    title: str
    why: str
    queries: tuple[Query, ...]
    unit: Unit = "short"
    kind: Literal["timeseries", "stat", "timeline"] = "timeseries"
    width: int = 8
    steps: tuple[tuple[float, str], ...] = ()
    """From this value on, this colour; below the first it is green."""
    stacked: bool = False
    top: float | None = None
    """The axis ends here; where none is given, where the data do."""


def quantiles(family: str, labels: str, by: str = "") -> tuple[Query, ...]:
    """Median, slowest tenth and slowest hundredth."""
    group = f"le, {by}" if by else "le"
    name = f"{{{{{by}}}}} " if by else ""
    return tuple(
        Query(
            f"histogram_quantile({q}, sum by ({group}) (rate({family}_bucket{{{labels}}}{RATE})))",
            f"{name}p{q:.0%}"[:-1],
        )
        for q in (0.5, 0.9, 0.99)
    )


def p99(family: str, labels: str, by: str, legend: str) -> Query:
    """The slowest hundredth, by a label."""
    return Query(f"histogram_quantile(0.99, sum by (le, {by}) (rate({family}_bucket{{{labels}}}{RATE})))", legend)


def rate(by: str, name: str, labels: str) -> str:
    """How many a second, by these labels."""
    return f"sum by ({by}) (rate({name}{{{labels}}}{RATE}))"


def mean(by: str, name: str, labels: str) -> str:
    """Mean of a histogram."""
    return f"{rate(by, f'{name}_sum', labels)} / ({rate(by, f'{name}_count', labels)} > 0)"


BURNS = ((1, "orange"), (6, "red"))
ANY = ((1, "red"),)

OVERVIEW = (
    Panel(
        "Alerts firing",
        "Of Modelyard's rules. Each has a page in docs/runbooks.",
        (Query('sum(ALERTS{alertname=~"Modelyard.*", alertstate="firing"}) or vector(0)', "firing"),),
        "none",
        "stat",
        4,
        ANY,
    ),
    Panel(
        "Processes that answer",
        "Targets that Prometheus could scrape just now.",
        (Query(f'sum(up{{job="modelyard", {NS}}})', "up"),),
        "none",
        "stat",
        4,
        ((1, "green"),),
    ),
    Panel(
        "Models ready",
        "Models of which at least one version answers somewhere.",
        (Query(f"count(max by (model) (modelyard_model_ready{{{NS}}}) == 1) or vector(0)", "ready"),),
        "none",
        "stat",
        4,
        ((1, "green"),),
    ),
    Panel(
        "Failed: budget burns",
        "How many times faster than allowed requests fail, over the last hour. 1 spends the error budget in 30 days.",
        (Query(f'modelyard:slo_burn:rate1h{{slo="availability", {NS}}}', "availability"),),
        "short",
        "stat",
        4,
        BURNS,
    ),
    Panel(
        "Late: budget burns",
        "The same for answers that take longer than the latency objective allows.",
        (Query(f'modelyard:slo_burn:rate1h{{slo="latency", {NS}}}', "latency"),),
        "short",
        "stat",
        4,
        BURNS,
    ),
    Panel(
        "Release",
        "Which releases of Modelyard run; two of them during a rollout.",
        (Query(f"sum by (release) (modelyard_build_info{{{NS}}})", "{{release}}"),),
        "none",
        "stat",
        4,
    ),
    Panel(
        "Requests by code",
        "All routes. 5xx is the service's fault, but for 501; 503 is overload or no model, 504 a deadline.",
        (Query(rate("code", "modelyard_requests_total", NS), "{{code}}"),),
        "reqps",
        stacked=True,
    ),
    Panel(
        "Latency",
        "Of questions to models, from the head of the request to the last byte of the answer; refusals included.",
        quantiles("modelyard_request_seconds", f"{NS}, {ASKED}"),
        "s",
    ),
    Panel(
        "Error budget by window",
        "How many times faster than allowed. Pages: 1 h and 5 min above 14.4, or 6 h and 30 min above 6.",
        tuple(
            Query(f"modelyard:slo_burn:rate{window}{{{NS}}}", f"{{{{slo}}}} {window}") for window in ("5m", "1h", "6h")
        ),
        "short",
        steps=((6, "orange"), (14.4, "red")),
    ),
    Panel(
        "Requests by route",
        "Routes are templates, never paths.",
        (Query(rate("route", "modelyard_requests_total", NS), "{{route}}"),),
        "reqps",
    ),
    Panel(
        "Slowest hundredth by route",
        "Of questions to models.",
        (p99("modelyard_request_seconds", f"{NS}, {ASKED}", "route", "{{route}}"),),
        "s",
    ),
    Panel(
        "Fullness of queues",
        "Inputs that wait, of those that may. At 1 requests are refused.",
        (Query(f"modelyard:queue_filled:ratio{{{OF}}}", "{{model}}"),),
        "percentunit",
        steps=((0.5, "orange"), (0.9, "red")),
        top=1,
    ),
)
MODELS = (
    Panel(
        "Inputs answered",
        "Throughput of each model, in inputs a second.",
        (Query(rate("model", "modelyard_instances_total", OF), "{{model}}"),),
        "ops",
    ),
    Panel(
        "Where time goes",
        "Mean time of each phase of a request; their sum is the mean request.",
        (Query(mean("phase", "modelyard_phase_seconds", OF), "{{phase}}"),),
        "s",
        stacked=True,
    ),
    Panel(
        "Slowest hundredth of waiting and computing",
        "Waiting grows with load, computing with batches and with what else the machine does.",
        (p99("modelyard_phase_seconds", f'{OF}, phase=~"queue|compute"', "model, phase", "{{model}} {{phase}}"),),
        "s",
    ),
    Panel(
        "Mean batch",
        "Inputs computed together. It grows with load; at 1 nothing queues.",
        (Query(mean("model", "modelyard_batch_rows", OF), "{{model}}"),),
        "short",
    ),
    Panel(
        "Inputs that wait",
        "And how many may, of all processes together (dashed by its name: limit).",
        (
            Query(f"sum by (model) (modelyard_queue_depth{{{OF}}})", "{{model}}"),
            Query(f"sum by (model) (modelyard_queue_limit{{{OF}}})", "{{model}} limit"),
        ),
        "short",
    ),
    Panel(
        "Requests in flight",
        "Between their head and their answer; what the autoscaler looks at.",
        (Query(f"sum by (model) (modelyard_in_flight{{{OF}}})", "{{model}}"),),
        "short",
    ),
    Panel(
        "Refused",
        "Share of the requests that found the queue full (503 with Retry-After).",
        (Query(f"modelyard:shed:ratio_rate5m{{{OF}}}", "{{model}}"),),
        "percentunit",
        steps=((0.05, "red"),),
    ),
    Panel(
        "Late",
        "Share of the requests that were answered 504: their deadline had passed.",
        (Query(f"modelyard:late:ratio_rate5m{{{OF}}}", "{{model}}"),),
        "percentunit",
        steps=((0.05, "red"),),
    ),
    Panel(
        "Failures by reason",
        "Error codes of serving/errors.py.",
        (Query(rate("model, reason", "modelyard_failures_total", OF), "{{model}} {{reason}}"),),
        "reqps",
    ),
    Panel(
        "Dropped before compute",
        "Requests whose deadline had passed, or whose client had left, before they cost compute.",
        (
            Query(rate("model", "modelyard_deadline_drops_total", OF), "{{model}} late"),
            Query(rate("model", "modelyard_client_gone_drops_total", OF), "{{model}} client gone"),
        ),
        "reqps",
    ),
    Panel("Batches", "Batches a second.", (Query(rate("model", "modelyard_batches_total", OF), "{{model}}"),), "ops"),
    Panel(
        "Out of memory",
        "Batches in ten minutes that the device's memory did not hold; smaller ones are tried.",
        (Query(f"sum by (model) (increase(modelyard_out_of_memory_total{{{OF}}}[10m]))", "{{model}}"),),
        "none",
        steps=ANY,
    ),
)
QUALITY = (
    Panel(
        "Golden failures",
        "Golden samples answered wrong or not at all, in ten minutes. Anything above 0 is an incident.",
        (Query(f"sum by (model) (increase(modelyard_golden_failures_total{{{OF}}}[10m]))", "{{model}}"),),
        "none",
        steps=ANY,
    ),
    Panel(
        "Drift of answers",
        "Population stability index against the test split: from 0.1 notable, from 0.25 serious.",
        (Query(f"max by (model, statistic) (modelyard_drift_psi{{{OF}}})", "{{model}} {{statistic}}"),),
        "short",
        steps=((0.1, "orange"), (0.25, "red")),
    ),
    Panel(
        "Answers in the window of drift",
        "Of the last 1,000; the index needs 100.",
        (Query(f"sum by (model) (modelyard_drift_samples{{{OF}}})", "{{model}}"),),
        "none",
    ),
    Panel(
        "Inputs",
        "Mean of an input statistic over the window: brightness, tokens, mean and spread of a series.",
        (Query(f"avg by (model, statistic) (modelyard_input{{{OF}}})", "{{model}} {{statistic}}"),),
        "short",
    ),
    Panel(
        "Brightness of pictures",
        "Median and ninth decile, 0 to 255: a dark camera shows here first.",
        quantiles("modelyard_input_brightness", OF, "model")[:2],
        "none",
    ),
    Panel(
        "Tokens of texts",
        "Of sampled texts, after truncation.",
        quantiles("modelyard_input_tokens", OF, "model")[:2],
        "none",
    ),
    Panel(
        "Canary: answers that differ",
        "Share of the compared inputs in an hour, of versions on trial.",
        (Query(f"modelyard:canary_disagreements:ratio_increase1h{{{OF}}}", "{{model}} version {{version}}"),),
        "percentunit",
        steps=((0.01, "red"),),
    ),
    Panel(
        "Canary: inputs compared",
        "A second; few at high load, since comparisons give way to traffic.",
        (Query(rate("model, version", "modelyard_canary_requests_total", OF), "{{model}} version {{version}}"),),
        "ops",
    ),
    Panel(
        "Canary: inputs not answered",
        "Of those that the version that serves had answered.",
        (Query(rate("model, version", "modelyard_canary_failures_total", OF), "{{model}} version {{version}}"),),
        "ops",
        steps=((0.001, "red"),),
    ),
)
VERSIONS = (
    Panel(
        "Ready",
        "1 where a version answers on every process that knows it.",
        (Query(f"min by (model, version) (modelyard_model_ready{{{OF}}})", "{{model}} version {{version}}"),),
        "none",
        "timeline",
        12,
        ((0, "red"), (1, "green")),
    ),
    Panel(
        "Runs as",
        "Runtime, artefact, precision and device of each version, and on how many processes.",
        (
            Query(
                f"sum by (model, version, runtime, artefact, precision, device) (modelyard_model_info{{{OF}}} == 1)",
                "{{model}} {{version}}: {{runtime}}, {{artefact}} ({{precision}}), {{device}}",
            ),
        ),
        "none",
        "stat",
        12,
    ),
    Panel(
        "Fallbacks",
        "Processes where a version does not run as it was meant to; GET /v1/models says why.",
        (Query(f"sum by (model, version) (modelyard_engine_fallback{{{OF}}})", "{{model}} version {{version}}"),),
        "none",
        steps=ANY,
    ),
    Panel(
        "Requests by version",
        "During a rollout of a model, both answer.",
        (
            Query(
                rate("model, version, outcome", "modelyard_version_requests_total", OF),
                "{{model}} {{version}} {{outcome}}",
            ),
        ),
        "reqps",
    ),
    Panel(
        "Time of an answer by version",
        "Mean whole time of the requests that succeeded.",
        (
            Query(
                f"{rate('model, version', 'modelyard_version_request_seconds_total', ANSWERED)}"
                f" / ({rate('model, version', 'modelyard_version_requests_total', ANSWERED)} > 0)",
                "{{model}} {{version}}",
            ),
        ),
        "s",
    ),
    Panel(
        "Compute of an input by version",
        "Time of batches over the inputs in them: what an engine costs.",
        (
            Query(
                f"{rate('model, version', 'modelyard_version_batch_seconds_total', OF)}"
                f" / ({rate('model, version', 'modelyard_version_instances_total', OF)} > 0)",
                "{{model}} {{version}}",
            ),
        ),
        "s",
    ),
    Panel(
        "Batches by size",
        "A second.",
        (Query(rate("model, rows", "modelyard_version_batches_total", OF), "{{model}} of {{rows}}"),),
        "ops",
        stacked=True,
    ),
    Panel(
        "Versions refused",
        "In a quarter of an hour. What was served goes on.",
        (Query(f"sum by (model) (increase(modelyard_load_failures_total{{{OF}}}[15m]))", "{{model}}"),),
        "none",
        steps=ANY,
    ),
    Panel(
        "Since the last answer",
        "How long nobody has been answered by a version.",
        (
            Query(
                f"time() - max by (model, version) (modelyard_last_inference_timestamp_seconds{{{OF}}})",
                "{{model}} {{version}}",
            ),
        ),
        "s",
    ),
    Panel(
        "Phases by version",
        "Mean time of computing, by version.",
        (
            Query(
                f"{rate('model, version', 'modelyard_version_phase_seconds_total', COMPUTED)}"
                f" / ({rate('model, version', 'modelyard_version_phases_total', COMPUTED)} > 0)",
                "{{model}} {{version}}",
            ),
        ),
        "s",
    ),
)
GPU_LEGEND = "{{instance}} {{gpu}} {{name}}"
GPU = (
    Panel(
        "GPU memory",
        "In use by whomever, of what there is. A new version needs room beside the old one.",
        (Query(f"modelyard:gpu_memory_used:ratio{{{NS}}}", GPU_LEGEND),),
        "percentunit",
        width=6,
        steps=((0.9, "orange"), (0.95, "red")),
        top=1,
    ),
    Panel(
        "GPU memory in bytes",
        "In use by whomever.",
        (Query(f"modelyard_gpu_memory_used_bytes{{{NS}}}", GPU_LEGEND),),
        "bytes",
        width=6,
    ),
    Panel(
        "GPU busy",
        "Share of the last second in which it computed anything: 1 does not mean that it could do no more.",
        (Query(f"modelyard_gpu_utilisation_ratio{{{NS}}}", GPU_LEGEND),),
        "percentunit",
        width=6,
        top=1,
    ),
    Panel(
        "GPU memory busy",
        "Share of the last second in which its memory was read or written.",
        (Query(f"modelyard_gpu_memory_utilisation_ratio{{{NS}}}", GPU_LEGEND),),
        "percentunit",
        width=6,
        top=1,
    ),
    Panel(
        "GPU power",
        "Drawn, of what it may draw.",
        (
            Query(f"modelyard_gpu_power_watts{{{NS}}}", GPU_LEGEND),
            Query(f"modelyard_gpu_power_limit_watts{{{NS}}}", GPU_LEGEND + " limit"),
        ),
        "watt",
        width=6,
    ),
    Panel(
        "GPU temperature",
        "From about 85 on GPUs slow themselves down.",
        (Query(f"modelyard_gpu_temperature_celsius{{{NS}}}", GPU_LEGEND),),
        "celsius",
        width=6,
        steps=((85, "orange"), (95, "red")),
    ),
    Panel(
        "GPU slowed down",
        "1 while it is, by reason. By power is normal under full load; by heat or hardware is not.",
        (Query(f"modelyard_gpu_throttled{{{NS}}}", GPU_LEGEND + " {{reason}}"),),
        "none",
        width=6,
        top=1,
    ),
    Panel(
        "GPU memory errors",
        "Not corrected, in an hour.",
        (Query(f"increase(modelyard_gpu_ecc_errors_total{{{NS}}}[1h])", GPU_LEGEND),),
        "none",
        width=6,
        steps=ANY,
    ),
)
PROCESS = (
    Panel(
        "Processors in use",
        "Processor seconds a second, supervisor and workers together.",
        (Query(f"sum by (instance) (rate(modelyard_process_cpu_seconds_total{{{NS}}}{RATE}))", "{{instance}}"),),
        "short",
    ),
    Panel(
        "Resident memory",
        "Of all processes of a pod.",
        (Query(f"modelyard_process_resident_memory_bytes{{{NS}}}", "{{instance}}"),),
        "bytes",
    ),
    Panel(
        "Open files",
        "Connections included, of those that a process may have.",
        (Query(f"modelyard_process_open_fds{{{NS}}} / modelyard_process_max_fds{{{NS}}}", "{{instance}}"),),
        "percentunit",
        steps=((0.8, "red"),),
        top=1,
    ),
    Panel(
        "Age",
        "Since the newest process, or worker, was started.",
        (Query(f"time() - modelyard_process_start_time_seconds{{{NS}}}", "{{instance}}"),),
        "s",
    ),
    Panel(
        "Scrapes",
        "How long a scrape takes; it is written on a thread beside the requests.",
        (Query(f'scrape_duration_seconds{{job="modelyard", {NS}}}', "{{instance}}"),),
        "s",
    ),
    Panel(
        "Targets", "1 where a scrape succeeds.", (Query(f'up{{job="modelyard", {NS}}}', "{{instance}}"),), "none", top=1
    ),
)
BATCH = (
    Panel(
        "Scoring: rows",
        "Rows written a second.",
        (Query(rate("pod, model", "modelyard_score_rows_total", NS), "{{pod}} {{model}}"),),
        "ops",
    ),
    Panel(
        "Scoring: done",
        "Share of all rows that is written.",
        (Query(f"modelyard_score_done_ratio{{{NS}}}", "{{pod}} {{model}}"),),
        "percentunit",
        top=1,
    ),
    Panel(
        "Scoring: bad rows",
        "By cause, a second.",
        (Query(rate("model, cause", "modelyard_score_errors_total", NS), "{{model}} {{cause}}"),),
        "ops",
    ),
)
ROWS: dict[str, tuple[Panel, ...]] = {
    "Overview": OVERVIEW,
    "Models": MODELS,
    "Quality of answers": QUALITY,
    "Versions and engines": VERSIONS,
    "GPU": GPU,
    "Process": PROCESS,
    "Batch scoring": BATCH,
}


class Event(NamedTuple):
    """A mark across all panels."""

    name: str
    query: Query
    colour: str


_READY = f"max by (model, version) (modelyard_model_ready{{{OF}}}"
_RELEASES = f"max by (release) (modelyard_build_info{{{NS}}}"
EVENTS = (
    Event(
        "Version ready",
        Query(f"({_READY}) == 1) unless ({_READY} offset 1m) == 1)", "{{model}} version {{version}}"),
        "green",
    ),
    Event("Release", Query(f"{_RELEASES}) unless {_RELEASES} offset 1m)", "Modelyard {{release}}"), "blue"),
    Event("Alert", Query('ALERTS{alertname=~"Modelyard.*", alertstate="firing"}', "{{alertname}} {{model}}"), "red"),
)
"""What is there now and was not a minute ago."""

VARIABLES = {
    "namespace": "label_values(modelyard_build_info, namespace)",
    "model": f"label_values(modelyard_model_ready{{{NS}}}, model)",
}
