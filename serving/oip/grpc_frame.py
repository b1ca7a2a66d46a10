"""The frame around every gRPC call: who asks, how long it may take, which status went out, and what that cost.

What front.py is for HTTP. Errors go through the same table, and calls are counted by the status that HTTP would have
had, so that one query finds the failures of both. Knows gRPC's calls and the table of errors. Knows nothing of models.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import grpc
from google.protobuf.message import DecodeError
from grpc.aio import ServicerContext

from bundle.errors import BadInput, ModelyardError, Overloaded
from serving.batching.call import Call, request_id
from serving.errors import refusal, sendable
from serving.http.front import Pace
from serving.observing import logs
from serving.observing.endings import Endings
from serving.security.access import Access, credentials_of

Message = Any
Metadata = dict[bytes, bytes]
Unary = Callable[[Message, Call], Awaitable[Message]]
"""One message -> its answer; raises ModelyardError."""
Stream = Callable[[AsyncIterator[Message], Call], AsyncIterator[Message]]
Needs = Literal["nothing", "key", "admin"]
Read = Callable[[bytes], Message]
Write = Callable[[Message], bytes]

STATUS: dict[int, grpc.StatusCode] = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    499: grpc.StatusCode.CANCELLED,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""What the other statuses of HTTP mean is INVALID_ARGUMENT."""

GONE = 499
"""Nobody was there to be answered."""

MAX_DETAIL_BYTES = 1300
"""Of an error's text: it travels as a header, three bytes for one at worst, and not every client reads over 8 KiB."""

log = logging.getLogger("modelyard.serving")


class Frame:
    """Wraps the functions of a service into gRPC's handlers."""

    def __init__(self, endings: Endings, access: Access) -> None:
        self._endings = endings
        self._access = access
        self._pace = Pace()
        self._gate: asyncio.Event | None = None
        self.arrived = 0
        """Calls so far."""

    def hold(self, gate: asyncio.Event) -> None:
        """Let calls that come from now on wait until the gate opens."""
        self._gate = gate

    def unary(self, method: str, answer: Unary, needs: Needs, read: Read, write: Write) -> grpc.RpcMethodHandler:
        """The handler of a method with one message in and one out."""

        async def handle(raw: bytes, context: ServicerContext) -> bytes:
            async with self._framed(method, context, needs) as call:
                return write(await answer(_read(read, raw), call))

        return grpc.unary_unary_rpc_method_handler(handle)

    def stream(self, method: str, answer: Stream, needs: Needs, read: Read, write: Write) -> grpc.RpcMethodHandler:
        """The handler of a method with any number of messages in and out."""

        async def handle(raws: AsyncIterator[bytes], context: ServicerContext) -> AsyncIterator[bytes]:
            async with self._framed(method, context, needs) as call:
                async for message in answer((_read(read, raw) async for raw in raws), call):
                    yield write(message)

        return grpc.stream_stream_rpc_method_handler(handle)

    @asynccontextmanager
    async def _framed(self, method: str, context: ServicerContext, needs: Needs) -> AsyncIterator[Call]:
        """What surrounds every call: who asks, what it ended with, and that this is recorded."""
        call, metadata = await self._begin(context)
        status = GONE
        try:
            self._admit(needs, metadata)
            yield call
            status = 200
        except (asyncio.CancelledError, GeneratorExit):  # the client left, or its time is up: gRPC has told it
            call.gone = True
            raise
        except Exception as error:
            status, code, text, trailing = await self._refusal(method, error, call)
            await context.abort(code, text, trailing)
            raise
        finally:
            self._endings.ended("RPC", f"grpc:{method}", status, call, metadata)

    async def _begin(self, context: ServicerContext) -> tuple[Call, Metadata]:
        """Make the call, and its metadata as HTTP's headers look; its deadline is the client's."""
        self.arrived += 1
        metadata = {key.encode(): _bytes(value) for key, value in context.invocation_metadata() or ()}
        call = Call(request_id(metadata.get(b"x-request-id")))
        logs.request_id.set(call.request_id)
        left_s = context.time_remaining()
        if left_s is not None:
            call.answer_within(left_s)
        if self._gate is not None:
            await self._gate.wait()
        return call, metadata

    def _admit(self, needs: Needs, metadata: Metadata) -> None:
        shown = credentials_of(metadata)
        if needs == "admin":
            self._access.require_admin(shown)
        elif needs == "key" and self._access.asks_for_keys:
            self._access.require_key(shown)

    async def _refusal(
        self, method: str, error: Exception, call: Call
    ) -> tuple[int, grpc.StatusCode, str, tuple[tuple[str, str], ...]]:
        """(status in figures, gRPC's status, text, trailing metadata) for an error."""
        metadata = [("x-request-id", call.request_id)]
        if not isinstance(error, ModelyardError):
            log.error("%s failed [%s]", method, call.request_id, exc_info=error)
            text = f"{method} failed; the server's log says why"
            return 500, grpc.StatusCode.INTERNAL, text, tuple(metadata)
        if isinstance(error, Overloaded):
            await self._pace.wait()
        status, code, headers = refusal(error)
        if "Retry-After" in headers:
            metadata.append(("retry-after", headers["Retry-After"]))
        metadata.append(("code", code))
        return status, STATUS.get(status, grpc.StatusCode.INVALID_ARGUMENT), detail(str(error)), tuple(metadata)


def detail(text: str) -> str:
    """An error's text, cut to what fits where gRPC sends it."""
    encoded = sendable(text).encode()
    if len(encoded) <= MAX_DETAIL_BYTES:
        return encoded.decode()
    return encoded[:MAX_DETAIL_BYTES].decode(errors="ignore") + " ..."


def _read(read: Read, raw: bytes) -> Message:
    try:
        return read(raw)
    except DecodeError as cause:
        raise BadInput(f"{len(raw)} bytes that are not a message of this method: {cause}") from None


def _bytes(value: str | bytes) -> bytes:
    return value.encode(errors="replace") if isinstance(value, str) else value
