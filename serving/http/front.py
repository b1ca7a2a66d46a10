"""The frame around every HTTP request: who asks, how long it may take, which answer went out, and what that cost.

Requests for predictions are looked up in a plain table and answered without a framework, which would take as long as a
small model; every other request goes on to FastAPI, and its answer through the same frame.
Knows ASGI and the table of errors. Knows nothing of models.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sized
from typing import Any, Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bundle.errors import ClientGone, ModelyardError, Overloaded
from serving.batching.call import Call, now, request_id, timeout_s
from serving.batching.going import Done, begin
from serving.errors import error_body, refusal
from serving.http.reply import Header, Reply, header_pairs
from serving.observing import logs
from serving.observing.endings import Endings

Handler = Callable[[Request, Call], Awaitable[Reply]]
"""One request -> its answer; raises ModelyardError."""

Refuse = Callable[[ModelyardError], Reply]

NOSNIFF: Header = (b"x-content-type-options", b"nosniff")
CLOSE: Header = (b"connection", b"close")

WATCH_AFTER_S = 0.1
"""A request that waits longer than this is watched for its client going away; most are answered before."""

log = logging.getLogger("modelyard.serving")


class Guard(Protocol):
    """Who may ask."""

    def check(self, path: str, headers: dict[bytes, bytes]) -> None:
        """Let a request through, or raise Unauthenticated."""
        ...


class Front:
    """The frame. `routes` are the predictions: path -> (handler, how it writes its errors)."""

    def __init__(self, app: ASGIApp, endings: Endings) -> None:
        self._app = app
        self._endings = endings
        self._routes: dict[str, tuple[Handler, Refuse]] = {}
        self._patterns: list[tuple[str, str, str, Handler, Refuse]] = []
        self._pace = Pace()
        self.guard: Guard | None = None
        self.draining = False
        """The process is to end: every answer says that its connection ends too."""
        self.in_flight = 0
        self.begun: Sized = ()
        """Requests that have been begun and not answered, those included that this turn of the loop has not come to."""

    def add(self, path: str, handler: Handler, refuse: Refuse | None = None) -> None:
        """Answer POST requests for this path."""
        self._routes[path] = (handler, refuse or refused)

    def add_pattern(self, prefix: str, suffix: str, template: str, handler: Handler, refuse: Refuse) -> None:
        """Answer POST requests for every path that begins and ends like this; the template is its name in figures."""
        self._patterns.append((prefix, suffix, template, handler, refuse))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        call = Call(request_id(headers.get(b"x-request-id")))
        call.alone = len(self.begun) == 1
        logs.request_id.set(call.request_id)
        more: list[Header] = [NOSNIFF, (b"x-request-id", call.request_id.encode())]
        path: str = scope["path"]
        self.in_flight += 1
        try:
            found = self._find(path)
            if found is None:
                await self._pass_on(scope, receive, send, call, headers, more)
                return
            template, handler, refuse = found
            if scope["method"] != "POST":
                reply = _wrong_method(scope["method"], path)
            else:
                reply = await self._answer(Request(scope, receive), call, headers, handler, refuse)
            if call.phases:
                more.append((b"server-timing", server_timing(call)))
            if self.draining:  # now, not when the request came: those in flight at the end are the ones to tell
                more.append(CLOSE)
            await send(reply.start(more))
            await send(reply.rest())
            self._endings.ended(scope["method"], template, reply.status, call, headers)
        finally:
            self.in_flight -= 1

    def _find(self, path: str) -> tuple[str, Handler, Refuse] | None:
        route = self._routes.get(path)
        if route is not None:
            return path, *route
        for prefix, suffix, template, handler, refuse in self._patterns:
            if path.startswith(prefix) and path.endswith(suffix):
                return template, handler, refuse
        return None

    async def _answer(
        self, request: Request, call: Call, headers: dict[bytes, bytes], handler: Handler, refuse: Refuse
    ) -> Reply:
        try:
            if self.guard is not None:
                self.guard.check(request.scope["path"], headers)
            allowed = headers.get(b"x-request-timeout-ms")
            if allowed is not None:
                call.answer_within(timeout_s(allowed.decode("latin-1")))
            return await handler(request, call)
        except Overloaded as error:
            await self._pace.wait()
            return refuse(error)
        except ModelyardError as error:
            return refuse(error)
        except ClientDisconnect:
            return refuse(ClientGone("the client went away"))
        except Exception:
            log.exception("%s %r failed", request.method, request.scope["path"])  # a path may hold line ends
            text = f"{request.method} {request.scope['path']} failed; the server's log says why"
            return error_reply(500, "internal", text)

    async def _pass_on(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        call: Call,
        headers: dict[bytes, bytes],
        more: list[Header],
    ) -> None:
        """Let the framework answer; count it by its route template, never by the raw path."""
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *more, *([CLOSE] if self.draining else [])]
            await send(message)

        try:
            if self.guard is not None:
                self.guard.check(scope["path"], headers)
        except ModelyardError as error:
            reply = refused(error)
            await watch(reply.start([]))
            await watch(reply.rest())
        else:
            scope.setdefault("state", {})["call"] = call
            await self._app(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._endings.ended(scope["method"], route, status, call, headers)


class Pace:
    """Refusals cost little, but clients that ask again at once can take the processors from those who are answered.

    So many a second are sent at once; beyond that each is held back, a quarter of a second at most.
    """

    def __init__(self, per_second: float = 200.0, at_most_s: float = 0.25) -> None:
        self._gap_s = 1 / per_second
        self._at_most_s = at_most_s
        self._burst_s = 0.25
        self._next = 0.0

    async def wait(self) -> None:
        """Wait for one's turn to refuse."""
        turn = max(self._next, now() - self._burst_s)
        self._next = min(turn + self._gap_s, now() + self._at_most_s)
        delay_s = turn - now()
        if delay_s > 0:
            await asyncio.sleep(min(delay_s, self._at_most_s))


def server_timing(call: Call) -> bytes:
    """The header Server-Timing: milliseconds by phase.

    Of a copy: where a request failed, rows of it may still be on a thread that adds to them.
    """
    return ", ".join([f"{phase};dur={seconds * 1e3:.3f}" for phase, seconds in list(call.phases.items())]).encode()


def refused(error: ModelyardError) -> Reply:
    """An error in the shape that everything but OpenAI's clients gets."""
    status, code, headers = refusal(error)
    return error_reply(status, code, str(error), headers)


def error_reply(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Reply:
    """An error that has no class of its own, in the same shape."""
    return Reply(error_body(code, message), status, headers=header_pairs(headers or {}))


def _wrong_method(method: str, path: str) -> Reply:
    message = f"{method} {path}: Method Not Allowed; send POST; see /docs for what there is"
    return error_reply(405, "method_not_allowed", message, {"Allow": "POST"})


async def watched(request: Request, call: Call, answer: Coroutine[Any, Any, Reply]) -> Reply:
    """Await an answer, and note on the call when the client goes away meanwhile."""
    state = begin(answer)
    if isinstance(state, Done):
        return state.result
    loop = asyncio.get_running_loop()
    watchers: list[asyncio.Task[None]] = []

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        call.gone = True

    timer = loop.call_later(WATCH_AFTER_S, lambda: watchers.append(loop.create_task(watch())))
    try:
        return await state
    finally:
        timer.cancel()
        for task in watchers:
            task.cancel()
