"""What the process writes to standard error, in processes of their own: logging is one for all in a process."""

import json
import logging
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from serving.observing.logs import MAX_FAILURE_LINES, AccessLog, JsonLines, TextLines, access_log, request_id
from tests.serving.running import ROOT


def written(code: str, log_format: str = "json", level: str = "info") -> list[str]:
    """Lines on standard error of a process that configures its log and then runs `code`."""
    script = f"import logging, warnings\nfrom serving.observing.logs import *\nconfigure({log_format!r}, {level!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", script + textwrap.dedent(code)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stderr.splitlines()


def entries(code: str, level: str = "info") -> list[dict[str, Any]]:
    return [json.loads(line) for line in written(code, "json", level)]


def test_a_line_of_json_says_when_how_bad_who_and_what() -> None:
    (entry,) = entries("logging.getLogger('modelyard.serving').warning('model %s', 'a')")
    assert entry.keys() == {"time", "level", "logger", "message"}
    assert entry["time"].endswith("Z")
    assert "T" in entry["time"]
    assert (entry["level"], entry["logger"], entry["message"]) == ("warning", "modelyard.serving", "model a")


def test_every_library_and_every_warning_comes_in_the_same_form() -> None:
    found = entries(
        """
        import uvicorn
        for name in ("uvicorn.error", "uvicorn.access", "asyncio", "anything"):
            logging.getLogger(name).error("e")
        warnings.warn("w")
        uvicorn.Config(lambda: None, log_config=None, log_level="info")
        logging.getLogger("uvicorn.error").info("after")
        """
    )
    assert [entry["logger"] for entry in found] == [
        "uvicorn.error",
        "uvicorn.access",
        "asyncio",
        "anything",
        "py.warnings",
        "uvicorn.error",
    ]


def test_at_debug_only_our_own_lines_are_more_since_others_quote_what_they_read() -> None:
    found = entries(
        """
        for name in ("PIL.TiffImagePlugin", "python_multipart.multipart", "modelyard.serving"):
            logging.getLogger(name).debug("tag: GPSInfo")
            logging.getLogger(name).info("i")
        """,
        "debug",
    )
    assert [(entry["logger"], entry["level"]) for entry in found] == [
        ("PIL.TiffImagePlugin", "info"),
        ("python_multipart.multipart", "info"),
        ("modelyard.serving", "debug"),
        ("modelyard.serving", "info"),
    ]


def test_a_level_above_info_holds_for_all() -> None:
    code = """
        for name in ("anything", "modelyard.serving"):
            logging.getLogger(name).warning("w")
            logging.getLogger(name).error("e")
        """
    assert [entry["message"] for entry in entries(code, "error")] == ["e", "e"]


def test_a_traceback_is_one_line_of_json() -> None:
    (entry,) = entries(
        """
        try:
            1 / 0
        except ZeroDivisionError:
            logging.getLogger().exception("it broke")
        """
    )
    assert entry["message"] == "it broke"
    assert entry["exception"].endswith("ZeroDivisionError: division by zero")


def test_text_is_for_people_and_a_line_a_record() -> None:
    assert written("logging.getLogger('a').info('hello')", "text") == ["INFO:     hello"]


@pytest.mark.parametrize("text", ["line\nbreak", '"', "\x1b[31m", "\u2028", "\ud800"])
def test_no_text_breaks_a_line_of_json(text: str) -> None:
    record = logging.LogRecord("a", logging.INFO, "", 0, text, None, None)
    line = JsonLines().format(record)
    assert line.isascii()
    assert len(line.splitlines()) == 1
    assert json.loads(line)["message"] == text


def test_the_request_that_is_answered_is_named_in_either_form() -> None:
    record = logging.LogRecord("a", logging.INFO, "", 0, "hello", None, None)
    token = request_id.set("r-1")
    try:
        assert json.loads(JsonLines().format(record))["request_id"] == "r-1"
        assert TextLines().format(record) == "INFO:     hello [r-1]"
    finally:
        request_id.reset(token)
    assert "request_id" not in json.loads(JsonLines().format(record))


@pytest.mark.parametrize(("code", "level", "lines"), [(200, "info", 0), (404, "info", 0), (503, "info", 1)])
def test_at_the_usual_level_only_failures_of_ours_have_a_line(
    code: int, level: str, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(level.upper(), access_log.name):
        AccessLog().request("POST", "/v1/classify", code, 0.0123, "m")
    assert len(caplog.records) == lines


@pytest.mark.parametrize("route", ["/v2/health/ready", "/v2/health/live", "/v2/models/{name}/ready"])
def test_not_being_ready_is_no_failure_of_a_request(route: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, access_log.name):
        AccessLog().request("GET", route, 503, 0.001)
    assert not caplog.records


def test_at_debug_every_request_has_a_line_with_its_facts(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, access_log.name):
        AccessLog().request("POST", "/v1/classify", 200, 0.0123456, "m", "abc")
    entry = json.loads(JsonLines().format(caplog.records[0]))
    assert entry["message"] == "POST /v1/classify (m): 200 in 12.346 ms"
    facts = {key: entry[key] for key in ("method", "route", "status", "duration_ms", "model", "trace_id")}
    assert facts == {
        "method": "POST",
        "route": "/v1/classify",
        "status": 200,
        "duration_ms": 12.346,
        "model": "m",
        "trace_id": "abc",
    }


def test_a_flood_of_failures_is_a_few_lines_and_a_number(caplog: pytest.LogCaptureFixture) -> None:
    now = [100.0]
    log = AccessLog(lambda: now[0])
    with caplog.at_level(logging.INFO, access_log.name):
        for _ in range(5000):
            log.request("POST", "/v1/classify", 503, 0.001)
        assert len(caplog.records) == MAX_FAILURE_LINES
        now[0] += 1
        log.request("POST", "/v1/classify", 503, 0.001)
    assert len(caplog.records) == MAX_FAILURE_LINES + 2
    assert caplog.records[-2].getMessage() == "4990 more failed requests had no line of their own"
