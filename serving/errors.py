"""One table from errors to the wire: every error a client can see has one JSON shape, `{"error", "code"}`.

Knows HTTP status codes and the error tree. Knows nothing of who raises what.
"""

import logging
import math

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from bundle.errors import (
    BadInput,
    ClientGone,
    DeadlineExceeded,
    DeviceLost,
    Forbidden,
    InputTooLarge,
    InputTooSlow,
    ModelNotFound,
    ModelNotReady,
    ModelyardError,
    OutOfMemory,
    Overloaded,
    RuntimeFailed,
    Unauthenticated,
    Unsupported,
    UnsupportedMedia,
)

STATUS: dict[type[ModelyardError], tuple[int, str]] = {
    BadInput: (400, "bad_input"),
    InputTooLarge: (413, "input_too_large"),
    InputTooSlow: (408, "input_too_slow"),
    UnsupportedMedia: (415, "unsupported_media"),
    ModelNotFound: (404, "model_not_found"),
    ModelNotReady: (503, "model_not_ready"),
    RuntimeFailed: (500, "runtime_failed"),
    OutOfMemory: (503, "out_of_memory"),
    DeviceLost: (503, "device_lost"),
    Overloaded: (503, "overloaded"),
    DeadlineExceeded: (504, "deadline_exceeded"),
    ClientGone: (499, "client_gone"),
    Unauthenticated: (401, "unauthenticated"),
    Forbidden: (403, "forbidden"),
    Unsupported: (501, "unsupported"),
}
"""Error -> (status, code); an error not listed takes the row of its nearest listed base."""

UNREAD_BODY = (408, 413)
"""After these the rest of the body may still be on its way: the connection is of no further use."""

BY_LOAD = (503, 504)
"""Under overload these come by the thousand, and are counted; logging each would cost more than refusing."""

NOT_OFFERED = 501
"""The caller asked for what is not there: nobody here has to mend anything."""

FRAMEWORK_CODES = {404: "not_found", 405: "method_not_allowed"}

log = logging.getLogger("modelyard.serving")


def error_body(code: str, message: str) -> bytes:
    """The one shape of an error."""
    return msgspec.json.encode({"error": sendable(message), "code": code})


def error_response(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    """An error as the framework sends it."""
    return Response(error_body(code, message), status, headers, media_type="application/json")


def sendable(message: str) -> str:
    """A message that UTF-8 can hold: it may quote a name that is no valid text."""
    return message.encode(errors="backslashreplace").decode()


def status_of(error: ModelyardError) -> tuple[int, str]:
    """Status and code of an error, from the table."""
    return next((STATUS[base] for base in type(error).__mro__ if base in STATUS), (500, "internal"))


def refusal(error: ModelyardError) -> tuple[int, str, dict[str, str]]:
    """Status, code and headers of the answer to an error; what is the service's own fault is logged."""
    status, code = status_of(error)
    if status >= 500 and status not in (NOT_OFFERED, *BY_LOAD):
        log.error("%s: %s", code, error)
    headers = {"Connection": "close"} if status in UNREAD_BODY else {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return status, code, headers


def install(app: FastAPI) -> None:
    """Put every error of the application, the framework's own too, into the one shape."""

    async def ours(_: Request, error: Exception) -> Response:
        assert isinstance(error, ModelyardError)  # noqa: S101 - registered for this type only
        status, code, headers = refusal(error)
        return error_response(status, code, str(error), headers)

    async def framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        code = FRAMEWORK_CODES.get(error.status_code, "bad_request")
        message = f"{request.method} {request.url.path}: {error.detail}; see /docs for what there is"
        return error_response(error.status_code, code, message, dict(error.headers or {}))

    async def validation(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        return error_response(400, "bad_input", problems)

    async def unforeseen(request: Request, _: Exception) -> Response:
        # The traceback goes to the log (the framework raises on after this answer), never to the client.
        return error_response(500, "internal", f"{request.method} {request.url.path} failed; the server's log says why")

    app.add_exception_handler(ModelyardError, ours)
    app.add_exception_handler(HTTPException, framework)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(Exception, unforeseen)
