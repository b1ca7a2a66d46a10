"""The client counts: what came, what was wrong, and what never came."""

import asyncio
import time

import pytest

from loadtests.client import Request, drive, percentile, post
from tests.loadtests.servers import answer, echo, read_request, serving
from tests.serving.running import free_port

SECONDS = 0.2


def asks(body: bytes = b"abc", expected: bytes | None = None) -> list[Request]:
    return [post("/", "text/plain", body, lambda got: None if got == (expected or body) else f"got {got!r}")]


def test_every_answer_is_counted_and_checked() -> None:
    with serving(echo) as port:
        load = drive(port, asks(), 4, SECONDS)
    assert load.codes[200] == load.answered == len(load.latencies_ms) > 4
    assert (load.wrong, load.lost, load.refused) == ([], [], 0)
    assert load.per_second > 0
    assert 0 < load.p50_ms <= load.p99_ms


def test_an_answer_to_somebody_else_is_wrong() -> None:
    with serving(echo) as port:
        load = drive(port, asks(b"mine", expected=b"yours"), 1, SECONDS)
    assert load.wrong[0] == "got b'mine'"
    assert len(load.wrong) == load.codes[200]
    assert load.per_second == 0


def test_refusals_are_counted_by_code_and_have_no_latency() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(answer(b"{}", "503 Service Unavailable"))

    with serving(refuse) as port:
        load = drive(port, asks(), 2, SECONDS)
    assert load.codes[503] == load.answered > 0
    assert load.latencies_ms == []
    assert load.wrong == []


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", answer(b"abc")[:-1]])
def test_a_request_without_a_whole_answer_is_lost(sent: bytes) -> None:
    async def cut_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(sent)
        await writer.drain()

    with serving(cut_off) as port:
        load = drive(port, asks(), 1, SECONDS)
    assert load.lost[0] == f"end of stream on a new connection after {len(sent)} bytes of an answer"
    assert load.answered == 0


def test_a_kept_connection_that_ends_is_told_from_a_new_one() -> None:
    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(await read_request(reader)))
        await read_request(reader)

    with serving(answer_once) as port:
        load = drive(port, asks(), 1, SECONDS)
    assert {line.partition(" after")[0] for line in load.lost} == {"end of stream on a kept connection"}
    assert abs(load.codes[200] - len(load.lost)) <= 1


def test_connection_close_is_followed_without_loss() -> None:
    connections = 0

    async def answer_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.write(answer(await read_request(reader), "200 OK", "Connection: close"))
        await writer.drain()

    with serving(answer_and_close) as port:
        load = drive(port, asks(), 2, SECONDS)
    assert load.lost == []
    assert load.codes[200] == connections > 2


def test_nobody_listening_is_no_lost_request() -> None:
    load = drive(free_port(), asks(), 3, SECONDS)
    assert (load.refused, load.lost, load.answered) == (3, [], 0)


def test_an_answer_may_come_in_pieces() -> None:
    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            for byte in answer(await read_request(reader)):
                writer.write(bytes([byte]))
                await writer.drain()

    with serving(slowly) as port:
        load = drive(port, asks(), 1, SECONDS)
    assert load.codes[200] > 0
    assert load.wrong == []


def test_a_rate_is_held() -> None:
    with serving(echo) as port:
        start = time.perf_counter()
        load = drive(port, asks(), 4, 0.5, rate=40)
        took = time.perf_counter() - start
    assert 0.5 <= took < 5
    assert 10 <= load.answered <= 21


def test_a_percentile_of_nothing_is_not_a_number() -> None:
    assert percentile([], 0.5) != percentile([], 0.5)
    assert [percentile([3, 1, 2], share) for share in (0, 0.5, 0.99)] == [1, 2, 3]
