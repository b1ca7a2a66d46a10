"""The end of a process under load: nothing that reached it stays without an answer.

Closing idle connections, as servers do, drops the request that is just arriving on one; closing the listening socket
resets the connections that wait to be accepted. So, on SIGTERM: every answer says `Connection: close` and its client
goes elsewhere; what waits to be accepted is accepted; then the listener closes; connections that stay silent for a
moment are closed last. Those who watch are answered until everything else has ended. Knows uvicorn and sockets. Knows
nothing of requests.
"""

import asyncio
import logging
import socket
from typing import Protocol

import uvicorn

from serving.batching.call import now
from serving.http.front import Front
from serving.http.listener import refuse_new

QUIET_S = 0.5
"""A connection that sent nothing for so long, after every other answer said close, is not about to send."""
TURN_S = 0.02
ACCEPT_S = 0.2
"""For connections that had begun to arrive and be accepted, on a loop that is busy."""

log = logging.getLogger("modelyard.serving")


class Beside(Protocol):
    """Another server in the same event loop."""

    async def start(self) -> None:
        """Listen."""
        ...

    async def stop(self, grace_s: float) -> None:
        """Answer what has come, within a time, and end."""
        ...


class Watched(Protocol):
    """A port in the same event loop that answers for as long as there is anything to tell."""

    async def start(self) -> None:
        """Listen."""
        ...

    async def stop(self) -> None:
        """End."""
        ...


class DrainingServer(uvicorn.Server):
    """uvicorn's server with an end that loses nothing."""

    def __init__(
        self,
        config: uvicorn.Config,
        front: Front,
        listener: socket.socket,
        limit_s: float,
        beside: Beside | None = None,
        watched: Watched | None = None,
    ) -> None:
        super().__init__(config)
        self._watched = watched
        self._beside = beside
        self._front = front
        front.begun = self.server_state.tasks
        self._listener = listener
        self._limit_s = limit_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start all servers; where one beside cannot, none stays."""
        await super().startup(sockets)
        if not self.started:
            return
        try:
            if self._watched is not None:
                await self._watched.start()
            if self._beside is not None:
                await self._beside.start()
        except BaseException:
            await super().shutdown(sockets)
            raise

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then let uvicorn close what is left."""
        end = now() + self._limit_s
        self._front.draining = True
        log.info("draining: %d requests to answer", self._front.in_flight)
        beside = asyncio.create_task(self._beside.stop(self._limit_s)) if self._beside else None
        refuse_new(self._listener)
        await asyncio.sleep(ACCEPT_S)
        for server in self.servers:
            server.close()
        log.info("no longer listening")
        answered, quiet_since = -1, now()
        while now() < end and (self._front.in_flight or now() - quiet_since < QUIET_S):
            if not self.server_state.connections:
                break
            if self.server_state.total_requests != answered:
                answered, quiet_since = self.server_state.total_requests, now()
            await asyncio.sleep(TURN_S)
        if beside is not None:
            await beside
        if self._front.in_flight:
            log.error("%d requests stay without an answer after %g s", self._front.in_flight, self._limit_s)
        self.config.timeout_graceful_shutdown = max(1, round(end - now()))
        await super().shutdown(sockets)
        if self._watched is not None:
            await self._watched.stop()
