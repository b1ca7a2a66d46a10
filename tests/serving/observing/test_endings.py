"""What a running service tells of its requests: real processes, read from outside."""

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.batching.call import PHASES, Call
from serving.observing.endings import Endings
from serving.observing.logs import AccessLog, access_log
from serving.observing.metrics import Metrics
from tests.builders import png
from tests.serving.figures import samples_of, shown
from tests.serving.observing.test_exposition import promtool
from tests.serving.running import Server, running

CLASSIFY = "/v1/classify"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
SECRET = "this-stays-between-us"


@pytest.fixture(scope="module")
def talkative(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Everything on: JSON at debug, spans on the console, Triton's names."""
    pytest.importorskip("opentelemetry.sdk", reason="the extra `tracing` is not installed")
    flags = ("--log-format=json", "--log-level=debug", "--tracing=console", "--nv-metrics")
    with running(repository, tmp_path_factory.mktemp("talkative"), *flags) as server:
        server.wait_for_status("/v2/health/ready", 200)
        yield server


def lines_of(server: Server, request_id: str, number: int = 1) -> list[dict[str, object]]:
    """Lines of the log that belong to a request, once there are so many."""

    def found() -> list[dict[str, object]]:
        entries = [json.loads(line) for line in server.stderr().splitlines()]
        return [entry for entry in entries if entry.get("request_id") == request_id]

    server.wait_until(lambda: len(found()) >= number, f"{number} lines of request {request_id}")
    return found()


def test_every_line_of_the_process_is_json(talkative: Server) -> None:
    talkative.client.post(CLASSIFY, content=png())
    entries = [json.loads(line) for line in talkative.stderr().splitlines()]
    assert {"uvicorn.error", "modelyard.serving", "modelyard.access"} <= {entry["logger"] for entry in entries}


def test_a_request_has_a_line_with_its_id_and_its_facts(talkative: Server) -> None:
    answered = talkative.client.post(CLASSIFY, content=png(), headers={"X-Request-Id": "mine-1"})
    assert answered.headers["x-request-id"] == "mine-1"
    (entry,) = lines_of(talkative, "mine-1")
    assert (entry["route"], entry["status"], entry["model"], entry["method"]) == (CLASSIFY, 200, "fake", "POST")
    assert len(str(entry["trace_id"])) == 32


def test_neither_payload_nor_query_nor_raw_path_comes_into_the_log(talkative: Server) -> None:
    headers = {"X-Request-Id": "secretive"}
    talkative.client.post(CLASSIFY, params={"top_k": SECRET}, content=SECRET, headers=headers)
    talkative.client.post(f"/v1/{SECRET}", content=SECRET, headers=headers)
    lines_of(talkative, "secretive", 2)
    assert SECRET not in talkative.stderr()


def test_server_timing_tells_every_phase(talkative: Server) -> None:
    header = talkative.client.post(CLASSIFY, content=png()).headers["server-timing"]
    phases = dict(part.split(";dur=") for part in header.split(", "))
    assert phases.keys() == set(PHASES)
    assert all(0 <= float(duration_ms) < 10_000 for duration_ms in phases.values())


def test_a_trace_goes_on_and_is_the_exemplar_of_its_duration(talkative: Server) -> None:
    talkative.client.post(CLASSIFY, content=png(), headers={"traceparent": TRACEPARENT})
    talkative.wait_until(lambda: TRACE_ID in talkative.stdout(), "the trace on the console")
    for phase in PHASES:
        talkative.wait_until(lambda phase=phase: f'"name": "{phase}"' in talkative.stdout(), f"a span {phase}")
    assert '"modelyard.model": "fake"' in talkative.stdout()
    scraped = talkative.client.get("/metrics", headers={"Accept": OPENMETRICS})
    assert scraped.headers["content-type"].startswith("application/openmetrics-text")
    assert 'trace_id="' in scraped.text


def test_tritons_names_are_shown_where_they_are_set(talkative: Server) -> None:
    talkative.client.post(CLASSIFY, content=png())
    figures = samples_of(talkative.client.get("/metrics").text)
    assert figures["nv_inference_count"]["fake", "1"] >= 1
    assert figures["nv_inference_exec_count"]["fake", "1"] >= 1


def test_promtool_finds_nothing_to_say_of_a_running_service(server: Server) -> None:
    server.client.post(CLASSIFY, content=png())
    found = promtool(server.client.get("/metrics").content)
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


def test_drift_of_a_running_service_is_counted(server: Server) -> None:
    deadline = time.monotonic() + 30
    while "modelyard_drift_samples" not in (figures := samples_of(server.client.get("/metrics").text)):
        server.client.post(CLASSIFY, content=png())
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert figures["modelyard_drift_samples"]["fake",] >= 1
    assert 0 <= figures["modelyard_input"]["fake", "brightness"] <= 255


def test_by_default_nothing_of_triton_or_traces_is_there(server: Server) -> None:
    server.client.post(CLASSIFY, content=png(), headers={"traceparent": TRACEPARENT})
    assert "nv_inference" not in server.client.get("/metrics").text
    assert TRACE_ID not in server.stdout() + server.stderr()


def test_a_request_for_a_model_is_named_in_figures_and_log(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    call = Call("r")
    call.model = "m"
    with caplog.at_level(logging.DEBUG, access_log.name):
        Endings(metrics, access=AccessLog()).ended("POST", "/r", 200, call, {})
    assert shown(metrics)["modelyard_requests_total"] == {("200", "/r"): 1}
    assert caplog.records[0].__dict__["model"] == "m"
