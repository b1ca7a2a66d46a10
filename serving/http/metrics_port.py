"""A port of its own for those who watch the service: `/metrics` and the two health questions, over plain HTTP.

Whatever keys and certificates the main port asks for, a probe and Prometheus need none here, and a NetworkPolicy can
let only them in. It has connections of its own, so that a main port with as many as it may have takes no probe away;
and it answers, not ready, for as long as the main port drains. What is asked here is not counted among the requests:
nobody is served by it. Knows health, figures and uvicorn's protocol. Knows nothing of models or keys.
"""

import asyncio
import functools
import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from serving.errors import error_response
from serving.http.connections import ConnectionLimits, GuardedProtocol, guarded
from serving.observing.metrics import Metrics
from serving.oip.health import LIVE, READY, Health, live_response, ready_response

METRICS = "/metrics"
MAX_CONNECTIONS = 64
"""Kubelet, a few Prometheus and a person; over it the one that idles longest goes."""
LIMITS = ConnectionLimits(
    MAX_CONNECTIONS, max_header_bytes=16 * 1024, max_header_s=5.0, max_read_s=10.0, keep_alive_s=75.0
)
LAST_ANSWERS_S = 1.0
"""How long answers that have begun may take at the very end."""
TURN_S = 0.01


async def metrics_response(metrics: Metrics, accept: str) -> Response:
    """All figures, in the form that the scraper's Accept header asks for."""
    content, content_type = await metrics.scrape(accept)
    return Response(content, headers={"Content-Type": content_type})


class LeavingHealth:
    """Health of a process that is not ready while it drains, whatever its models are."""

    def __init__(self, health: Health, draining: Callable[[], bool]) -> None:
        self._health = health
        self._draining = draining
        self.not_live_because = health.not_live_because

    def not_ready_because(self) -> str:
        """Why the service should get no traffic, or ""."""
        return "it drains: the process is to end" if self._draining() else self._health.not_ready_because()


def watchers_app(health: Health, metrics: Metrics, draining: Callable[[], bool]) -> ASGIApp:
    """What is answered on the port."""
    told = LeavingHealth(health, draining)

    async def answer(scope: Scope) -> Response:
        method, path = scope["method"], scope["path"]
        if path not in (METRICS, LIVE, READY):
            message = f"{method} {path}: Not Found; on this port there are {METRICS}, {LIVE} and {READY}"
            return error_response(404, "not_found", message)
        if method != "GET":
            message = f"{method} {path}: Method Not Allowed; send GET"
            return error_response(405, "method_not_allowed", message, {"Allow": "GET"})
        if path == METRICS:
            return await metrics_response(metrics, Headers(scope=scope).get("accept", ""))
        return live_response(told) if path == LIVE else ready_response(told)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await answer(scope)
        response.headers["X-Content-Type-Options"] = "nosniff"
        await response(scope, receive, send)

    return app


class MetricsPort:
    """A listening socket in the event loop of the service, from its start until everything else has ended."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        """`listener` is bound, and does not listen yet."""
        self._protocol = guarded(LIMITS)
        self._config = uvicorn.Config(
            app,
            http=self._protocol,
            ws="none",
            lifespan="off",
            server_header=False,
            date_header=False,
            proxy_headers=False,
            access_log=False,
            log_level=None,  # as the main port's
            log_config=None,
        )
        self._listener = listener
        self._state = ServerState()

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: somebody else has begun to listen on the port.
        """
        self._config.load()
        connected = functools.partial(self._protocol, config=self._config, server_state=self._state, app_state={})
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(connected, sock=self._listener, backlog=MAX_CONNECTIONS)

    async def stop(self) -> None:
        """Finish the answers that have begun, and end."""
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_ANSWERS_S):
                while self._state.connections:
                    await asyncio.sleep(TURN_S)
        for connection in list(self._state.connections):
            if isinstance(connection, GuardedProtocol):
                connection.transport.abort()
