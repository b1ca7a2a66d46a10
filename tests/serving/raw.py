"""HTTP byte by byte over a plain socket, for what a well-behaved client never sends."""

import socket
import time
from contextlib import suppress

from tests.serving.running import PATIENCE_S, Server

HEAD = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n"
GOOD = HEAD + b"\r\n"


def connect(server: Server) -> socket.socket:
    """A connection that a test may block on for so long, and no longer."""
    return socket.create_connection(server.address, timeout=PATIENCE_S)


def read_all(connection: socket.socket) -> bytes:
    """Everything until the server ends the connection, even if it ends it rudely."""
    answer = b""
    with suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


def read_head(connection: socket.socket) -> bytes:
    """One answer to GOOD: its head and its short body, the connection left open."""
    answer = b""
    while not answer.endswith(b"}"):
        chunk = connection.recv(65536)
        assert chunk, answer
        answer += chunk
    return answer


def asked(server: Server, request: bytes) -> bytes:
    """All that comes back for these bytes until the server ends the connection."""
    with connect(server) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # the server has heard enough
            connection.sendall(request)
        return read_all(connection)


def seconds_until_closed(connection: socket.socket) -> float:
    """How long the server keeps a connection on which nothing more is sent."""
    start = time.monotonic()
    read_all(connection)
    return time.monotonic() - start
