"""What is counted and timed, for Prometheus: requests by route and code, and every phase of a request as a histogram.

Each application has a registry of its own. Knows prometheus_client. Knows nothing of what happens in a phase.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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

    @contextmanager
    def phase(self, model: str, phase: str) -> Iterator[None]:
        """Time one phase of one request."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._phases.labels(model, phase).observe(time.perf_counter() - start)


class CountRequests:
    """ASGI middleware: one count and one duration a request, labelled by route template, never by raw path."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, and look at the status on its way out."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            route: BaseRoute | None = scope.get("route")
            self._metrics.count_request(getattr(route, "path", "other"), status, time.perf_counter() - start)
