"""OpenTelemetry traces: a span a request, a child a phase, made after the fact from figures that are there anyway.

Off by default, and then nothing of OpenTelemetry is imported. `console` prints spans; `otlp` sends them where
OTEL_EXPORTER_OTLP_ENDPOINT says, in batches, from a thread of its own; OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES and
OTEL_TRACES_SAMPLER mean what they mean everywhere. Knows W3C trace context and phases. Knows nothing of HTTP or gRPC.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bundle.errors import BadInput
from serving.batching.call import PHASES

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

TracingSetting = Literal["off", "console", "otlp"]
TRACE_HEADERS = ("traceparent", "tracestate")
MAX_HEADER_CHARS = 512  # what the W3C asks for; of longer ones the library would write a line in the log each
SERVICE = "modelyard"

Attributes = Mapping[str, str | int | float | bool]


@dataclass(frozen=True)
class Traced:
    """One answered request, as a trace shows it."""

    name: str
    """Of the span: `POST /v1/classify`."""
    started: float
    """time.perf_counter() when its head was read."""
    phases: Mapping[str, float]
    """Seconds by phase; they are drawn end to end from the start, in the order of a request's life."""
    attributes: Attributes
    """Request id, model, version, route, status ...; never a payload."""
    error: str = ""
    """Its error code where it failed through no fault of the caller."""


class Tracing:
    """Where spans go."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer(SERVICE)
        self._propagator = TraceContextTextMapPropagator()

    def record(self, request: Traced, headers: Mapping[str, str]) -> str:
        """Make the spans of a request that ends now; `headers` may hold the caller's traceparent and tracestate.

        Returns the trace's id where it is sampled, for the exemplar of the request's duration and the log; else "".
        """
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        end_ns = time.time_ns()
        start_ns = end_ns - int((time.perf_counter() - request.started) * 1e9)
        span = self._tracer.start_span(
            request.name, self._parent(headers), SpanKind.SERVER, dict(request.attributes), start_time=start_ns
        )
        if not span.is_recording():
            span.end(end_ns)
            return ""
        within, at_ns = set_span_in_context(span), start_ns
        for phase in PHASES:
            if phase in request.phases:
                child = self._tracer.start_span(phase, within, start_time=at_ns)
                at_ns += int(request.phases[phase] * 1e9)
                child.end(at_ns)
        if request.error:
            span.set_status(Status(StatusCode.ERROR, request.error))
        span.end(end_ns)
        return f"{span.get_span_context().trace_id:032x}"

    def _parent(self, headers: Mapping[str, str]) -> "Context":
        """What the caller's headers say; a traceparent that is none starts a trace of our own."""
        given = {name: headers.get(name, "") for name in TRACE_HEADERS}
        return self._propagator.extract({k: v for k, v in given.items() if 0 < len(v) <= MAX_HEADER_CHARS})

    def close(self) -> None:
        """Send what is waiting."""
        self._provider.shutdown()


def open_tracing(setting: TracingSetting) -> Tracing | None:
    """Tracing as the setting says, or None where it is off.

    Raises:
        BadInput: it is on, and the packages of the extra `tracing` are not there.
    """
    if setting == "off":
        return None
    try:
        return Tracing(_provider(_exporter(setting)))
    except ImportError as cause:
        raise BadInput(
            f"tracing={setting} needs OpenTelemetry, and {cause.name} is not there; "
            "install it with pip install 'modelyard[tracing]', or leave tracing off"
        ) from None


def _exporter(setting: TracingSetting) -> "SpanExporter":
    if setting == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stdout)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


def _provider(exporter: "SpanExporter") -> "TracerProvider":
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # What OTEL_* says of the service comes last, so it wins over our name.
    resource = Resource({SERVICE_NAME: SERVICE}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)  # `close` does, while threads still run
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
