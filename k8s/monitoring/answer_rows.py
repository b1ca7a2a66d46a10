"""Rows of the dashboard on what answers: quality, versions and engines.

Knows PromQL and our figures. Knows nothing of Grafana's JSON: dashboard.py does.
"""

from k8s.monitoring.panel import ANSWERED, ANY, COMPUTED, OF, Panel, Query, quantiles, rate

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
