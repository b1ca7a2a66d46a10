"""Small HTTP servers that behave as told, each on a thread of its own."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextmanager
def serving(handler: Handler) -> Iterator[int]:
    """A server for the length of a `with`; gives its port."""
    server = _Server(handler)
    thread = threading.Thread(target=lambda: asyncio.run(server.live()))
    thread.start()
    try:
        yield server.port.result(10)
    finally:
        server.end()
        thread.join()


class _Server:
    """Lives on one loop; ends its connections before it goes, whatever their handlers are doing."""

    def __init__(self, handler: Handler) -> None:
        self.port: Future[int] = Future()
        self._handler = handler
        self._transports: list[asyncio.WriteTransport] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def live(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port.set_result(listener.sockets[0].getsockname()[1])
        await self._over.wait()
        listener.close()
        for transport in self._transports:
            transport.abort()
        await asyncio.gather(*self._tasks)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._transports.append(writer.transport)
        self._tasks.append(asyncio.get_running_loop().create_task(self._handle(reader, writer)))

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Clients go away whenever they like."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._handler(reader, writer)
        writer.close()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """The body of the next request."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    return await reader.readexactly(int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request with its own body."""
    while True:
        writer.write(answer(await read_request(reader)))
