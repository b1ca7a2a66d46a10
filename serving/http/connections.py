"""What one connection, and all of them together, may cost: heads, slow clients, idle ones, how many there are.

uvicorn bounds none of this but idling: its parser keeps a head of any size, waits for its end for ever, and a client
that leaves its answer lying keeps it in memory. So our protocol counts what arrives outside of bodies, and one sweep
a second, instead of a timer a request, ends what is overdue. Bodies have limits of their own (serving/http/inputs.py).
Knows uvicorn's protocol and the wire. Knows nothing of routes, models or keys.
"""

import asyncio
import heapq
import logging
import math
import resource
import time
from dataclasses import dataclass
from typing import Any

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from serving.http.joined import JoinedWrites

log = logging.getLogger("modelyard.serving")

MAX_HEADERS = 100
MAX_PIPELINED = 256
"""Requests sent ahead of their answers; each costs 3 KB before its turn, so a buffer full of them is an attack."""
NEVER = math.inf
SWEEP_S = 0.5
SLOW_HEAD_S = 1.0
"""A head is one packet, or a few: while there is no room for others, whoever takes longer makes some."""
ROOM = 32
"""How many are closed at once to make room, so that a flood does not make us look through all for each of its own."""
LINGER_S = 2.0
"""How long what a refused client still sends is taken and thrown away: a socket closed over unread bytes resets the
connection, and the client would never see why it was refused."""
LEAST_READ_BYTES = 16 * 1024
"""What a client must take of its answer within `max_read_s`; a byte now and then is no reading."""
SPARE_FILES = 512
"""Descriptors for everything that is no connection: model files, logs, libraries."""


@dataclass(frozen=True)
class ConnectionLimits:
    """What connections may cost; the settings of the same names say more."""

    max_connections: int
    max_header_bytes: int
    max_header_s: float
    max_read_s: float
    keep_alive_s: float


class _Refused(Exception):
    """Raised inside of the parser, which knows no other way to be stopped."""


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 within limits."""

    limits: ConnectionLimits
    sweeper: "Sweeper"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._active: RequestResponseCycle | None = None
        self.idle_since: float = NEVER
        """Since when nothing of a request, nor of an answer, has been here."""
        self._head_since: float | None = None
        self._ending_since: float | None = None
        self._stalled: tuple[float, int] | None = None
        """When an answer last moved on towards its reader, and how much of it was left then."""
        self._outside_bodies = 0
        """Bytes since the last head was complete, or the last piece of a body came."""
        self._refusal: tuple[int, str, str] | None = None

    # What uvicorn and the parser call

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let a connection in, if there is room."""
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type] # it is one in all they use
        self.idle_since = time.monotonic()
        self.sweeper.watch(self.loop, self.connections)  # type: ignore[arg-type] # ours are all there are
        limit = self.limits.max_connections
        if len(self.connections) > limit and not self._make_room():
            if len(self.connections) > limit + limit // 10 + 8:  # too many even to be told
                self._cut()
                return
            self._refuse(503, "overloaded", f"{limit} connections are open, which is the most; try again")

    def data_received(self, data: bytes) -> None:
        """Take what arrived."""
        if self._refusal is not None:
            return
        if self._head_since is None and (self.cycle is None or self.cycle.response_complete):
            self._head_since, self.idle_since = time.monotonic(), NEVER
        self._outside_bodies += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._answer_without_upgrade()
        except httptools.HttpParserError as cause:
            self._refuse(*(self._refusal or (400, "bad_input", f"this is no HTTP/1.1 request: {cause}")))
            return
        if self._outside_bodies > self.limits.max_header_bytes:
            self._refuse(*self._head_too_large())

    def on_headers_complete(self) -> None:
        """Hand a request on, if its head is within limits."""
        if self._outside_bodies > self.limits.max_header_bytes:  # some of that may be of the body: count
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > self.limits.max_header_bytes:
                self._refusal = self._head_too_large()
                raise _Refused
        if len(self.headers) > MAX_HEADERS:
            self._refusal = (431, "headers_too_large", f"the request has more than {MAX_HEADERS} headers")
            raise _Refused
        if len(self.pipeline) >= MAX_PIPELINED:
            self._refusal = (400, "bad_input", f"more than {MAX_PIPELINED} requests wait for answers here")
            raise _Refused
        self._outside_bodies = 0
        self._head_since = None
        super().on_headers_complete()
        self.headers = []  # what comes after the body (trailers) is counted, and is no header of the request

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._outside_bodies = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Turn to the next request; the sweep, not a timer for each answer, ends a connection that idles."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self.idle_since = time.monotonic()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take leave."""
        self._tell_applications()  # uvicorn tells the last one alone, and it may not have had its turn yet
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """More of an answer may be written, because its reader took some."""
        self._stalled = None
        super().resume_writing()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._active = cycle
        super()._start_asgi_task(cycle, app)

    # What the sweep calls

    def end_if_overdue(self, now: float) -> None:
        """End this connection if its client takes longer than the limits allow."""
        limits = self.limits
        left = self.transport.get_write_buffer_size()
        if left:
            self._check_reader(now, left)
        elif self._refusal is not None or self.transport.is_closing():
            self._end(now)
        elif self._head_since is not None and now - self._head_since > limits.max_header_s:
            self._refuse(408, "input_too_slow", f"the head of the request did not arrive in {limits.max_header_s:g} s")
        elif now - self.idle_since > limits.keep_alive_s:
            self.transport.close()

    @property
    def idles(self) -> bool:
        """Whether nobody would miss this connection."""
        return self.idle_since != NEVER and not self.flow.write_paused and not self.transport.is_closing()

    @property
    def dawdles_since(self) -> float:
        """Since when a head has not come to its end, though it has had the time for it; NEVER where none has."""
        since = self._head_since
        begun = since is not None and self._refusal is None and time.monotonic() - since > SLOW_HEAD_S
        return since if begun and since is not None else NEVER

    def give_up(self) -> None:
        """Close a connection that has no request in hand."""
        if self.idles:
            self.transport.close()
        else:
            self.transport.abort()
        self.connections.discard(self)

    # How it is done

    def _make_room(self) -> bool:
        """Give up those that idled longest, or else those that take longest over a head; whether there were any."""
        others = [other for other in self.connections if isinstance(other, GuardedProtocol) and other is not self]
        spare = [(other.idle_since, other) for other in others if other.idles]
        spare = spare or [(since, other) for other in others if (since := other.dawdles_since) != NEVER]
        most = min(ROOM, 1 + self.limits.max_connections // 100)
        for _, other in heapq.nsmallest(most, spare, key=lambda one: one[0]):
            other.give_up()
        return bool(spare)

    def _end(self, now: float) -> None:
        if self._ending_since is None:
            self._ending_since = now
        elif now - self._ending_since > LINGER_S:
            self._cut()

    def _check_reader(self, now: float, left: int) -> None:
        if self.idle_since != NEVER:  # the answer is written, but not yet sent
            self.idle_since = now
        if self._stalled is None or left <= self._stalled[1] - LEAST_READ_BYTES:
            self._stalled = now, left
        elif now - self._stalled[0] > self.limits.max_read_s:
            log.info("an answer's last %d bytes were not read for %g s: cut off", left, self.limits.max_read_s)
            self._cut()

    def _cut(self) -> None:
        """End the connection without waiting for what was still to be sent."""
        self._tell_applications()
        self.transport.abort()

    def _tell_applications(self) -> None:
        """Let those that still read or answer here hear that the client has gone."""
        for cycle in (self._active, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def _answer_without_upgrade(self) -> None:
        """Another protocol was proposed; the parser now stands still, so this is the connection's last request."""
        self.cycle.keep_alive = False
        announced = dict(self.scope["headers"])
        if b"transfer-encoding" in announced or announced.get(b"content-length", b"0") != b"0":
            # ... and its body cannot be read any more
            self._refuse(501, "unsupported", "no other protocol is spoken here; leave out the header 'Upgrade'")

    def _head_too_large(self) -> tuple[int, str, str]:
        most = self.limits.max_header_bytes
        return 431, "headers_too_large", f"the head of the request (its line and headers) has more than {most} bytes"

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer outside of any application, and hear no more of this client."""
        self._refusal = (status, code, message)
        answering = self._active is not None and self._active.response_started and not self._active.response_complete
        if self.pipeline or answering or self.transport.is_closing():
            self._cut()  # an answer now would be taken for another request's
            return
        self._tell_applications()
        body = msgspec.json.encode({"error": message, "code": code})
        self.transport.write(_raw(status, body, self.server_state.default_headers))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:  # TLS
            self.transport.close()


class Sweeper:
    """Looks at all connections of a server every now and then, for as long as there are any."""

    def __init__(self) -> None:
        self._due: asyncio.TimerHandle | None = None

    def watch(self, loop: asyncio.AbstractEventLoop, connections: set[GuardedProtocol]) -> None:
        """Begin, unless begun."""
        if self._due is None:
            self._due = loop.call_later(SWEEP_S, self._sweep, loop, connections)

    def _sweep(self, loop: asyncio.AbstractEventLoop, connections: set[GuardedProtocol]) -> None:
        now = time.monotonic()
        self._due = None
        for connection in list(connections):
            connection.end_if_overdue(now)
        if connections:
            self.watch(loop, connections)


def guarded(limits: ConnectionLimits) -> type[GuardedProtocol]:
    """The protocol for one server's limits."""
    return type("GuardedProtocol", (GuardedProtocol,), {"limits": limits, "sweeper": Sweeper()})


def allow_files(max_connections: int) -> None:
    """Raise this process's limit on open files to what so many connections need, as far as it may be raised.

    Many systems start processes with 1024, and a server over that can accept nobody, not even to refuse them.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = max_connections + SPARE_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        log.warning(
            "max_connections is %d, but only %d files may be open here, of which %d are needed for other things; "
            "raise the limit (ulimit -n %d) or lower --max-connections",
            max_connections, allowed, SPARE_FILES, needed,
        )  # fmt: skip


def _raw(status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    head = [STATUS_LINE[status]]
    head += [b"%s: %s\r\n" % header for header in headers]
    head.append(b"x-content-type-options: nosniff\r\nconnection: close\r\n")
    head.append(b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body))
    if status == 503:
        head.append(b"retry-after: 1\r\n")
    return b"".join([*head, b"\r\n", body])
