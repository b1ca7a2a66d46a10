"""wrk and the Python client drive alike; what wrk prints is read, or refused."""

import shutil

import pytest

from loadtests import wrk
from loadtests.wrk import Figures, Target, drive_hard, parse
from tests.loadtests.servers import echo, serving

PRINTED = """Running 2s test @ http://127.0.0.1:8000/v1/classify
  1 threads and 8 connections
Requests/sec:    500.00
RESULT {"requests": 1000, "duration_us": 2000000, "p50_us": 1500, "p99_us": 4250, "max_us": 9000, \
"bad_status": 100, "connect": 1, "read": 2, "write": 3, "timeout": 4}
"""


def test_good_answers_are_those_that_were_not_refused() -> None:
    expected = Figures(per_second=450.0, refused_per_second=50.0, p50_ms=1.5, p99_ms=4.25, broken=10)
    assert parse(PRINTED) == expected


def test_output_without_the_line_is_an_error_that_shows_it() -> None:
    with pytest.raises(RuntimeError, match="unable to connect"):
        parse("unable to connect to 127.0.0.1:8000 Connection refused")


@pytest.mark.parametrize("tool", ["wrk", "python"])
def test_both_tools_give_the_same_figures(tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if tool == "wrk" and not shutil.which("wrk"):
        pytest.skip("wrk is not installed")
    if tool == "python":
        monkeypatch.setattr(wrk.shutil, "which", lambda _: None)
    bodies: set[bytes] = set()

    async def remember(reader, writer):  # type: ignore[no-untyped-def]
        await echo(_Remembering(reader, bodies), writer)  # type: ignore[arg-type]

    with serving(remember) as port:
        target = Target(port, "/v1/classify?model=a", "image/png", (b"one", b"two"), "X-Request-Timeout-Ms: 50")
        figures = drive_hard(target, 2, 1.0)
    assert bodies == {b"one", b"two"}
    assert figures.per_second > 10
    assert figures.refused_per_second == 0
    assert figures.broken == 0
    assert 0 < figures.p50_ms <= figures.p99_ms


class _Remembering:
    """A reader that notes bodies, and holds the requests to what they must be."""

    def __init__(self, reader, bodies):  # type: ignore[no-untyped-def]
        self._reader, self._bodies = reader, bodies

    async def readuntil(self, mark: bytes) -> bytes:
        head: bytes = await self._reader.readuntil(mark)
        assert head.startswith(b"POST /v1/classify?model=a HTTP/1.1\r\n")
        assert b"content-type: image/png\r\n" in head.lower()
        assert b"x-request-timeout-ms: 50\r\n" in head.lower()
        return head

    async def readexactly(self, number: int) -> bytes:
        body: bytes = await self._reader.readexactly(number)
        self._bodies.add(body)
        return body
