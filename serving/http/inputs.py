"""A request's body -> raw inputs: plain bytes, multipart files, or JSON instances, within stated limits.

Knows HTTP bodies. Knows nothing of what the bytes mean.
"""

import asyncio
import codecs
import re
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from bundle.errors import BadInput, ClientGone, InputTooLarge, InputTooSlow, UnsupportedMedia
from serving.batching.going import Done, begin
from serving.http.media import Medium

R = TypeVar("R")

ANY_BYTES = "application/octet-stream"
CURL_DEFAULT = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class InputLimits:
    """What one request may carry."""

    max_body_bytes: int
    max_body_s: float
    max_instances: int
    max_json_elements: int = 5_000_000


class _InMemoryParser(MultiPartParser):
    """Keeps files in memory: the body is bounded already, and no request should make the server write a file."""

    spool_max_size = 2**40
    complete = False
    """Whether the last boundary came; without it the upload was cut off, and the files so far are not all."""

    def on_end(self) -> None:
        """Note the last boundary."""
        self.complete = True


async def read_inputs(request: Request, medium: Medium, limits: InputLimits) -> list[bytes]:
    """The raw inputs of a request, at least one, in order.

    Raises:
        BadInput: no input, or a body that is not what its content type says. InputTooLarge: over a limit.
        InputTooSlow: the body did not arrive in time. UnsupportedMedia: a content type that is not read.
    """
    raws = await _in_time(_read(request, medium, limits), limits)
    check_number(len(raws), limits)
    return raws


async def read_body(request: Request, limits: InputLimits) -> bytes:
    """The whole body, whatever it is.

    Raises:
        InputTooLarge: over a limit. InputTooSlow: it did not arrive in time. ClientGone: its sender went away.
    """
    return await _in_time(_body(request, limits), limits)


def check_elements(body: bytes, limits: InputLimits) -> None:
    """Hold what a JSON body can become in memory to the limit: `[],[],` is 3 bytes a list, which is 70 once it is read.

    Counted before anything is read, over all commas and brackets, those within texts too: at most so many values are
    there. A millisecond a megabyte.

    Raises:
        InputTooLarge: there may be more values than the limit.
    """
    if len(body) <= limits.max_json_elements:  # a value is a byte at least
        return
    number = body.count(b",") + body.count(b"[") + body.count(b"{")
    if number > limits.max_json_elements:
        raise InputTooLarge(
            f"the JSON body holds up to {number} values; at most {limits.max_json_elements} are read. Send numbers as "
            "binary data, pictures as files, or fewer at once"
        )


def check_number(num_inputs: int, limits: InputLimits) -> None:
    """Hold the number of inputs of a request to at least one and at most the limit.

    Raises:
        BadInput: none. InputTooLarge: too many.
    """
    if not num_inputs:
        raise BadInput("the request holds no inputs; send at least one")
    if num_inputs > limits.max_instances:
        raise InputTooLarge(
            f"the request holds {num_inputs} inputs; at most {limits.max_instances} are answered at once"
        )


async def _in_time(reading: Coroutine[Any, Any, R], limits: InputLimits) -> R:
    """Read, but not for ever. Most bodies are there when they are asked for: those need no clock."""
    state = begin(reading)
    if isinstance(state, Done):
        return state.result
    try:
        async with asyncio.timeout(limits.max_body_s):
            return await state
    except TimeoutError:
        raise InputTooSlow(f"the body did not arrive within {limits.max_body_s:g} s") from None


async def _read(request: Request, medium: Medium, limits: InputLimits) -> list[bytes]:
    media_type, _, parameters = request.headers.get("content-type", ANY_BYTES).partition(";")
    media_type = media_type.strip().lower()
    if media_type == "application/json":
        body = await _body(request, limits)
        check_elements(body, limits)
        return _from_json(body, medium)
    if media_type == "multipart/form-data":
        return await _from_multipart(request, medium, limits)
    if media_type == ANY_BYTES:
        return [await _body(request, limits)]
    if media_type in medium.accepts:
        body = await _body(request, limits)
        return [_as_utf8(body, parameters) if medium.is_text else body]
    hint = " (curl sends this where no -H 'Content-Type: ...' is given)" if media_type == CURL_DEFAULT else ""
    raise UnsupportedMedia(
        f"content type '{media_type}'{hint} is not read here; send {', '.join(medium.accepts)}, "
        f"multipart/form-data with files, or application/json"
    )


def _as_utf8(body: bytes, parameters: str) -> bytes:
    """Text in the charset that its content type names, as UTF-8."""
    named = re.search(r"charset\s*=\s*\"?([^\s;\"]+)", parameters, re.IGNORECASE)
    if named is None or named[1].lower() in ("utf-8", "utf8", "us-ascii"):
        return body  # what is not UTF-8 after all is told where it is prepared
    try:
        return codecs.decode(body, named[1]).encode()
    except LookupError:
        raise UnsupportedMedia(f"charset '{named[1]}' is not known; send utf-8") from None
    except (UnicodeError, ValueError, TypeError, AttributeError) as cause:  # the last two: codecs that are no charsets
        raise BadInput(f"the body is not text in charset '{named[1]}': {cause}") from None


def _check_announced(request: Request, limits: InputLimits) -> None:
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limits.max_body_bytes:
        raise InputTooLarge(f"the body has {announced} bytes; at most {limits.max_body_bytes} are read")


async def _chunk(request: Request, so_far: int, limits: InputLimits) -> tuple[bytes, bool]:
    """The next piece of a body, and whether more follow."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientGone(f"the client went away after {so_far} bytes of the body")
    chunk: bytes = message.get("body", b"")
    if so_far + len(chunk) > limits.max_body_bytes:
        raise InputTooLarge(f"the body has more than {limits.max_body_bytes} bytes; at most these are read")
    return chunk, message.get("more_body", False)


async def _body(request: Request, limits: InputLimits) -> bytes:
    """The whole body. A generator, as `_stream` is, would cost a small request a tenth of its time."""
    _check_announced(request, limits)
    body, more = await _chunk(request, 0, limits)
    if not more:
        return body
    chunks, size = [body], len(body)
    while more:
        body, more = await _chunk(request, size, limits)
        chunks.append(body)
        size += len(body)
    return b"".join(chunks)


async def _stream(request: Request, limits: InputLimits) -> AsyncGenerator[bytes, None]:
    """The body piece by piece, for who reads it so."""
    _check_announced(request, limits)
    size, more = 0, True
    while more:
        chunk, more = await _chunk(request, size, limits)
        size += len(chunk)
        yield chunk


def _from_json(body: bytes, medium: Medium) -> list[bytes]:
    try:
        instances = msgspec.json.decode(body, type=medium.instances_type).instances  # type: ignore[attr-defined]
        return [medium.to_raw(instance) for instance in instances]
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as cause:
        raise BadInput(f'the JSON body is not {{"instances": [{medium.shown}, ...]}}: {cause}') from None


async def _from_multipart(request: Request, medium: Medium, limits: InputLimits) -> list[bytes]:
    parser = _InMemoryParser(
        Headers(scope=request.scope), _stream(request, limits), max_files=limits.max_instances, max_fields=16
    )
    try:
        form = await parser.parse()
    except MultiPartException as cause:
        if "Too many files" in cause.message:
            raise InputTooLarge(
                f"the request holds more than {limits.max_instances} files; at most that many are answered at once"
            ) from None
        raise BadInput(f"the multipart body cannot be read: {cause.message}") from None
    except UnicodeError as cause:  # of a charset that the content type names
        raise BadInput(f"the names in the multipart body cannot be read: {cause}") from None
    try:
        if not parser.complete:
            raise BadInput("the multipart body ends before its last boundary: the upload was cut off")
        return [await _part(field, value, medium) for field, value in form.multi_items()]
    finally:
        await form.close()


async def _part(field: str, value: UploadFile | str, medium: Medium) -> bytes:
    if isinstance(value, UploadFile):
        return await value.read()
    if medium.is_text:
        return value.encode()
    raise BadInput(f"the multipart field '{field}' is text, not a file; with curl: -F 'file=@picture.png'")
