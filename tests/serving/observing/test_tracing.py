import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from serving.observing.tracing import Traced, open_tracing
from tests.serving.running import ROOT

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}
PHASES = {"parse": 0.001, "compute": 0.25}


def traced(error: str = "", seconds: float = 0.5) -> Traced:
    attributes = {"http.route": "/v1/classify", "http.response.status_code": 200, "modelyard.model": "m"}
    return Traced("POST /v1/classify", time.perf_counter() - seconds, PHASES, attributes, error)


def test_tracing_that_is_off_imports_nothing_of_opentelemetry() -> None:
    code = (
        "import sys; from serving.observing.tracing import open_tracing; assert open_tracing('off') is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_tracing_that_is_on_without_its_packages_says_what_to_install() -> None:
    code = """
import sys
sys.modules["opentelemetry"] = None
from bundle.errors import BadInput
from serving.observing.tracing import open_tracing
try:
    open_tracing("otlp")
except BadInput as error:
    assert "modelyard[tracing]" in str(error), error
else:
    raise AssertionError("it opened")
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def spans(
    capsys: pytest.CaptureFixture[str], headers: Mapping[str, str], **changes: Any
) -> tuple[str, list[dict[str, Any]]]:
    """What `record` returned, and the spans on the console, in the order of their ends."""
    tracing = open_tracing("console")
    assert tracing is not None
    trace_id = tracing.record(traced(**changes), headers)
    tracing.close()
    decoder, text, found = json.JSONDecoder(), capsys.readouterr().out.strip(), []
    while text:
        span, end = decoder.raw_decode(text)
        found.append(span)
        text = text[end:].lstrip()
    return trace_id, found


@pytest.fixture
def otel(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No OTEL_* of the developer's own."""
    pytest.importorskip("opentelemetry.sdk", reason="the extra `tracing` is not installed")
    for name in ("OTEL_TRACES_SAMPLER", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.usefixtures("otel")
def test_a_request_is_a_span_with_a_child_for_each_phase(capsys: pytest.CaptureFixture[str]) -> None:
    _, (*children, root) = spans(capsys, {})
    assert (root["name"], root["kind"], root["parent_id"]) == ("POST /v1/classify", "SpanKind.SERVER", None)
    assert root["attributes"]["http.route"] == "/v1/classify"
    assert [child["name"] for child in children] == list(PHASES)
    assert {child["parent_id"] for child in children} == {root["context"]["span_id"]}
    assert children[0]["start_time"] == root["start_time"]
    assert children[1]["start_time"] == children[0]["end_time"] < children[1]["end_time"] < root["end_time"]


@pytest.mark.usefixtures("otel")
def test_the_callers_trace_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    trace_id, (*_, root) = spans(capsys, PARENT)
    assert trace_id == TRACE_ID
    assert (root["context"]["trace_id"], root["parent_id"]) == (f"0x{TRACE_ID}", f"0x{SPAN_ID}")


@pytest.mark.usefixtures("otel")
@pytest.mark.parametrize("header", ["", "00-0-0-01", f"00-{'0' * 32}-{SPAN_ID}-01", "x" * 5000, f"ff-{TRACE_ID}-1-01"])
def test_a_traceparent_that_is_none_starts_a_trace_of_our_own(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, header: str
) -> None:
    trace_id, (*_, root) = spans(capsys, {"traceparent": header})
    assert root["parent_id"] is None
    assert len(trace_id) == 32
    assert trace_id != TRACE_ID
    assert not caplog.records


@pytest.mark.usefixtures("otel")
def test_a_caller_that_does_not_sample_gets_no_spans(capsys: pytest.CaptureFixture[str]) -> None:
    assert spans(capsys, {"traceparent": PARENT["traceparent"][:-2] + "00"}) == ("", [])


def test_samplers_of_the_environment_hold(otel: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    otel.setenv("OTEL_TRACES_SAMPLER", "always_off")
    assert spans(capsys, {}) == ("", [])


def test_the_service_may_be_named_by_the_environment(
    otel: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert spans(capsys, {})[1][-1]["resource"]["attributes"]["service.name"] == "modelyard"
    otel.setenv("OTEL_SERVICE_NAME", "ours")
    assert spans(capsys, {})[1][-1]["resource"]["attributes"]["service.name"] == "ours"


@pytest.mark.usefixtures("otel")
def test_a_failure_of_ours_is_an_error_in_the_trace(capsys: pytest.CaptureFixture[str]) -> None:
    _, (*_, root) = spans(capsys, {}, error="runtime_failed")
    assert root["status"] == {"status_code": "ERROR", "description": "runtime_failed"}


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """A real HTTP server that takes what OTLP sends: its address, and what came (path, body)."""
    came: list[tuple[str, bytes]] = []

    class Take(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Take) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", came
        server.shutdown()
        thread.join()


def test_otlp_sends_to_the_standard_endpoint(
    otel: pytest.MonkeyPatch, collector: tuple[str, list[tuple[str, bytes]]]
) -> None:
    service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    address, came = collector
    otel.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    otel.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    otel.setenv("NO_PROXY", "127.0.0.1")
    tracing = open_tracing("otlp")
    assert tracing is not None
    tracing.record(traced(), PARENT)
    tracing.close()
    ((path, body),) = came
    assert path == "/v1/traces"
    found = service.ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans
    assert {span.name for span in found} == {"POST /v1/classify", *PHASES}
    assert {span.trace_id.hex() for span in found} == {TRACE_ID}
