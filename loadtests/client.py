"""An HTTP/1.1 client that counts everything: answers by code, wrong ones, and requests that were never answered.

Closed loop (each connection sends its next request when it has its answer), or at a given rate. `wrk` drives harder;
this one understands answers, `Connection: close`, and servers that go away. Knows HTTP bytes. Knows nothing of models.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvloop

HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
ANSWER_LIMIT_S = 60.0
"""A request without an answer for so long counts as lost."""

Check = Callable[[bytes], str | None]
"""A good answer's body -> what is wrong with it, or None."""


@dataclass(frozen=True)
class Request:
    """One request, as bytes, and how its answer is checked."""

    wire: bytes
    check: Check | None = None


@dataclass(frozen=True)
class Answer:
    """One answer; `closing` where the server will not take another request on this connection."""

    status: int
    body: bytes
    closing: bool


class Lost(Exception):
    """A request was sent, and the connection ended without an answer to it."""


@dataclass
class Load:
    """What one run saw."""

    connections: int
    seconds: float = 0.0
    codes: Counter[int] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    """Of answers with status 200."""
    wrong: list[str] = field(default_factory=list)
    """Good answers that were not what was expected."""
    lost: list[str] = field(default_factory=list)
    """Requests that were sent and never answered."""
    refused: int = 0
    """Connections that nobody accepted: no request was sent on them."""

    @property
    def answered(self) -> int:
        """Answers of any kind."""
        return sum(self.codes.values())

    @property
    def per_second(self) -> float:
        """Good answers a second."""
        return (self.codes[200] - len(self.wrong)) / self.seconds

    @property
    def p50_ms(self) -> float:
        """Median latency of good answers."""
        return percentile(self.latencies_ms, 0.5)

    @property
    def p99_ms(self) -> float:
        """99th percentile latency of good answers."""
        return percentile(self.latencies_ms, 0.99)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which a share of them lies; not a number where there are none."""
    if not values:
        return float("nan")
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def post(path: str, media_type: str, body: bytes, check: Check | None = None, headers: Sequence[str] = ()) -> Request:
    """A POST with a raw body; `headers` are lines such as `X-Name: value`."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {media_type}", f"Content-Length: {len(body)}"]
    return Request("\r\n".join([*lines, *headers, "", ""]).encode() + body, check)


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._received = bytearray()
        self._waiting: asyncio.Future[Answer] | None = None
        self._num_answers = 0

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Connect to 127.0.0.1.

        Raises:
            OSError: nobody listens.
        """
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return connection

    async def ask(self, wire: bytes) -> Answer:
        """Send one request and wait for its answer.

        Raises:
            Lost: the connection ended, or nothing came in time.
        """
        if self._transport is None:
            raise Lost("the connection was closed before the request was sent")
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(wire)
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                return await self._waiting
        except TimeoutError:
            raise Lost(f"no answer within {ANSWER_LIMIT_S:g} s") from None

    @property
    def is_open(self) -> bool:
        """Whether a request could be sent."""
        return self._transport is not None

    def close(self) -> None:
        """End it."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def connection_made(self, transport: Any) -> None:
        """Called by the loop."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Called by the loop: an answer is whole when its head and so many bytes as it says are there."""
        self._received += data
        head_end = self._received.find(HEAD_END)
        if head_end < 0 or self._waiting is None:
            return
        head = bytes(self._received[: head_end + 2])
        length = LENGTH.search(head)
        end = head_end + len(HEAD_END) + (int(length[1]) if length else 0)
        if len(self._received) < end:
            return
        body = bytes(self._received[head_end + len(HEAD_END) : end])
        del self._received[:end]
        self._settle(Answer(int(head[9:12]), body, CLOSE.search(head) is not None))

    def connection_lost(self, cause: Exception | None) -> None:
        """Called by the loop."""
        self._transport = None
        if self._waiting is not None and not self._waiting.done():
            why = type(cause).__name__ if cause else "end of stream"
            kind = "a new" if self._num_answers == 0 else "a kept"
            got = f"{len(self._received)} bytes of an answer"
            self._waiting.set_exception(Lost(f"{why} on {kind} connection after {got}"))

    def _settle(self, answer: Answer) -> None:
        self._num_answers += 1
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)


class Client:
    """So many connections to one port, sending requests round and round until it is told to stop."""

    def __init__(self, port: int, requests: Sequence[Request], connections: int, rate: float | None = None) -> None:
        self.load = Load(connections)
        self.stopped = False
        self._port = port
        self._requests = requests
        self._pause_s = connections / rate if rate else 0.0
        """Between a connection's requests, from sending to sending."""

    async def run(self, seconds: float) -> Load:
        """Drive for so long; a server that refuses connections ends it sooner."""
        start = time.perf_counter()
        number = self.load.connections
        await asyncio.gather(*(self._converse(i, start, start + seconds) for i in range(number)))
        self.load.seconds = time.perf_counter() - start
        return self.load

    async def _converse(self, first: int, start: float, end: float) -> None:
        connection: Connection | None = None
        turn, due = first, start + self._pause_s * first / self.load.connections
        while time.perf_counter() < end and not self.stopped:
            if self._pause_s:
                await asyncio.sleep(max(0.0, min(due, end) - time.perf_counter()))
                if due >= end:
                    break
                due += self._pause_s
            if connection is None or not connection.is_open:
                connection = await self._connect()
                if connection is None:
                    return
            answer = await self._ask(connection, self._requests[turn % len(self._requests)])
            turn += 1
            if answer is None or answer.closing:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    async def _connect(self) -> Connection | None:
        try:
            return await Connection.open(self._port)
        except OSError:
            self.load.refused += 1
            return None

    async def _ask(self, connection: Connection, request: Request) -> Answer | None:
        start = time.perf_counter()
        try:
            answer = await connection.ask(request.wire)
        except Lost as cause:
            self.load.lost.append(str(cause))
            return None
        took_ms = (time.perf_counter() - start) * 1e3
        self.load.codes[answer.status] += 1
        if answer.status == 200:
            self.load.latencies_ms.append(took_ms)
            problem = request.check(answer.body) if request.check else None
            if problem:
                self.load.wrong.append(problem)
        return answer


def drive(port: int, requests: Sequence[Request], connections: int, seconds: float, rate: float | None = None) -> Load:
    """Send the requests for a time, and check every answer."""
    return run(Client(port, requests, connections, rate).run(seconds))


def run(main: Coroutine[Any, Any, Load]) -> Load:
    """Run on a loop that costs a client little."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
