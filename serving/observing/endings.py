"""What is recorded of a request when it ends: its figures, a line of the log where it deserves one, its trace.

Knows metrics, the access log and tracing. Knows nothing of how requests are answered.
"""

from collections.abc import Mapping

from serving.batching.call import Call, now
from serving.observing.logs import AccessLog
from serving.observing.metrics import Metrics
from serving.observing.tracing import TRACE_HEADERS, Traced, Tracing

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "RPC"))
OTHER = "_OTHER"
"""For a method that nobody knows: a client's own words are no name of a span."""


class Endings:
    """Where ends of requests are recorded; on the event loop."""

    def __init__(self, metrics: Metrics, tracing: Tracing | None = None, access: AccessLog | None = None) -> None:
        self._metrics = metrics
        self._tracing = tracing
        self._access = access or AccessLog()

    def ended(self, method: str, route: str, code: int, call: Call, headers: Mapping[bytes, bytes]) -> None:
        """A request was answered: its method (RPC for gRPC), route template and status code."""
        seconds = now() - call.arrived
        trace_id = "" if self._tracing is None else self._traced(self._tracing, method, route, code, call, headers)
        self._metrics.count_request(route, code, seconds, trace_id)
        self._access.request(method, route, code, seconds, call.model, trace_id)

    def _traced(
        self, tracing: Tracing, method: str, route: str, code: int, call: Call, headers: Mapping[bytes, bytes]
    ) -> str:
        known = method if method in METHODS else OTHER
        attributes: dict[str, str | int | float | bool] = {
            "http.request.method": known,
            "http.route": route,
            "http.response.status_code": code,
            "modelyard.request_id": call.request_id,
        }
        if call.model:
            attributes |= {"modelyard.model": call.model, "modelyard.version": call.version}
        error = str(code) if code >= 500 else ""
        given = {name: headers.get(name.encode(), b"").decode("latin-1") for name in TRACE_HEADERS}
        traced = Traced(f"{known} {route}", call.arrived, dict(call.phases), attributes, error)
        return tracing.record(traced, given)
