"""A small closed-loop HTTP/1.1 client: a number of connections, each sending its next request when it has its answer.

Plain sockets and one thread a connection would measure the client; asyncio streams cost about 60 us a request.
Knows HTTP bytes. Knows nothing of models.
"""

import asyncio
import time
from dataclasses import dataclass, field
from statistics import median


@dataclass
class Load:
    """What one closed-loop run saw."""

    connections: int
    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Answers that were not what was expected, the first few."""

    @property
    def per_second(self) -> float:
        """Good answers a second."""
        return (len(self.latencies_ms) - len(self.wrong)) / self.seconds

    @property
    def p50_ms(self) -> float:
        """Median latency."""
        return median(self.latencies_ms)

    @property
    def p99_ms(self) -> float:
        """99th percentile latency."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


@dataclass(frozen=True)
class Request:
    """One request, as bytes, and the body that must come back."""

    wire: bytes
    expected: bytes | None = None


def post(host: str, path: str, media_type: str, body: bytes, expected: bytes | None = None) -> Request:
    """A POST with a raw body."""
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return Request(head.encode() + body, expected)


def drive(host: str, port: int, requests: list[Request], connections: int, seconds: float) -> Load:
    """Send the requests round and round for a time, and check every answer."""
    return asyncio.run(_drive(host, port, requests, connections, seconds))


async def _drive(host: str, port: int, requests: list[Request], connections: int, seconds: float) -> Load:
    load = Load(connections)
    start = time.perf_counter()
    await asyncio.gather(*(_one(host, port, requests, i, start + seconds, load) for i in range(connections)))
    load.seconds = time.perf_counter() - start
    return load


async def _one(host: str, port: int, requests: list[Request], first: int, end: float, load: Load) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    turn = first
    while time.perf_counter() < end:
        request = requests[turn % len(requests)]
        turn += 1
        start = time.perf_counter()
        writer.write(request.wire)
        status, body = await _answer(reader)
        load.latencies_ms.append((time.perf_counter() - start) * 1e3)
        if status != 200 or (request.expected is not None and body != request.expected):
            load.wrong.append(f"{status}: {body[:200]!r}")
    writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)
