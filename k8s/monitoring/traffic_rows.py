"""Rows of the dashboard on requests: an overview, and model by model.

Knows PromQL and our figures. Knows nothing of Grafana's JSON: dashboard.py does.
"""

from k8s.monitoring.panel import ANY, ASKED, BURNS, NS, OF, Panel, Query, mean, p99, quantiles, rate

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
