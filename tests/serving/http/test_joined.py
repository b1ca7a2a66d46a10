"""Head and body of an answer leave together, whatever else happens."""

import asyncio
from typing import Any

import pytest

from serving.http.joined import MOST_JOINED_BYTES, JoinedWrites

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
pytestmark = pytest.mark.anyio


class Wire:
    """Notes what is done to a transport."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    def write(self, data: bytes) -> None:
        self.done.append(data)

    def write_eof(self) -> None:
        self.done.append("eof")

    def close(self) -> None:
        self.done.append("close")

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 7

    def abort(self) -> None:
        self.done.append("abort")


def joined() -> tuple[Wire, JoinedWrites]:
    wire = Wire()
    return wire, JoinedWrites(wire, asyncio.get_running_loop())  # type: ignore[arg-type]


async def test_head_and_body_are_one_write() -> None:
    wire, transport = joined()
    transport.write(HEAD)
    assert wire.done == []
    transport.write(b"{}")
    transport.write(HEAD)
    transport.write(b"[]")
    assert wire.done == [HEAD + b"{}", HEAD + b"[]"]


async def test_a_head_without_a_body_leaves_when_the_turn_is_over() -> None:
    wire, transport = joined()
    transport.write(HEAD)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert wire.done == [HEAD]
    transport.write(b"late")
    assert wire.done == [HEAD, b"late"]


async def test_a_large_body_is_not_copied() -> None:
    wire, transport = joined()
    body = b"x" * (MOST_JOINED_BYTES + 1)
    transport.write(HEAD)
    transport.write(body)
    assert wire.done == [HEAD, body]


@pytest.mark.parametrize("end", ["close", "write_eof"])
async def test_nothing_that_is_held_is_lost_at_the_end(end: str) -> None:
    wire, transport = joined()
    transport.write(HEAD)
    getattr(transport, end)()
    assert wire.done == [HEAD, "close" if end == "close" else "eof"]


async def test_everything_else_is_the_transports_own() -> None:
    wire, transport = joined()
    assert (transport.get_write_buffer_size(), transport.is_closing()) == (7, False)
    transport.abort()
    assert wire.done == ["abort"]
