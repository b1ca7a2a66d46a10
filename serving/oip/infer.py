"""`POST /v2/models/{name}[/versions/{version}]/infer`: a request of tensors, answered in the model's own queue.

Knows HTTP, the repository and its queues. Knows nothing of how bodies are laid out (request.py, response.py).
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from starlette.datastructures import Headers
from starlette.requests import Request

from bundle.errors import ModelyardError, UnsupportedMedia
from bundle.manifest import Manifest
from bundle.preprocess import Prepared
from bundle.tensors import Tensors
from serving.batching.call import Call, now
from serving.errors import refusal
from serving.http.front import Handler, error_reply, watched
from serving.http.inputs import InputLimits, check_elements, read_body
from serving.http.reply import JSON, Header, Reply
from serving.oip.compression import ACCEPTED, chosen, compress, decompress
from serving.oip.facts import find
from serving.oip.parameters import Wishes
from serving.oip.request import HEADER, InferRequest, json_size, parse
from serving.oip.response import PlannedOutput, check_in_json, outputs_of, plan, write
from serving.oip.rows import raw_request, rows_of
from serving.repository.repository import ModelRepository
from serving.repository.served import ServedModel

PREFIX, SUFFIX = "/v2/models/", "/infer"
TEMPLATE = "/v2/models/{name}/infer"
TARGET = re.compile(r"/v2/models/(?P<name>[^/]*)(?:/versions/(?P<version>[^/]*))?/infer")

BINARY = b"application/octet-stream"
HEADER_BYTES = HEADER.lower().encode()
LONG_BYTES = 64 * 1024
"""JSON of this size takes about a millisecond to read: from here on that is not done on the event loop."""


@dataclass(frozen=True, slots=True)
class Understood:
    """A request that can be queued."""

    request: InferRequest
    rows: list[Prepared | bytes]
    planned: list[PlannedOutput]


def infer_handler(models: ModelRepository, limits: InputLimits) -> Handler:
    """The handler of every path that `TARGET` fits."""

    async def answer(request: Request, call: Call) -> Reply:
        target = TARGET.fullmatch(request.scope["path"])
        if target is None:
            return error_reply(404, "not_found", f"{request.scope['path']}: Not Found; see /docs for what there is")
        name, version = target["name"], target["version"] or ""
        find(models, name, version)  # before a body is read for nobody
        body = await read_body(request, limits)
        served, understood = await _understood(partial(find, models, name, version), request.headers, body, limits)
        schedule(call, understood.request.wishes)
        call.phases["parse"] = now() - call.arrived
        finish = partial(_finish, served.manifest, understood, request.headers.get("accept-encoding"), call)
        return await watched(request, call, served.ask(call, understood.rows, finish))

    return answer


async def _understood(
    current: Callable[[], ServedModel], headers: Headers, body: bytes, limits: InputLimits
) -> tuple[ServedModel, Understood]:
    """The request and the model that is to answer it; checked anew if another took its place meanwhile."""
    while True:
        served = current()
        if not _takes_long(headers, body):
            return served, understand(served.manifest, headers, body, limits)
        understood = await asyncio.to_thread(understand, served.manifest, headers, body, limits)
        if current() is served:
            return served, understood


def understand(manifest: Manifest, headers: Headers, body: bytes, limits: InputLimits) -> Understood:
    """Read a request and check all that can be checked before it is queued.

    Raises:
        BadInput and its kin: what the request says cannot be answered. Unsupported: not by this server.
    """
    body = decompress(body, headers.get("content-encoding", ""), limits.max_body_bytes)
    size = json_size(headers.get(HEADER), len(body))
    check_elements(body[:size], limits)
    if size == 0 and HEADER in headers:
        request = raw_request(manifest, body)
    else:
        check_elements(body[:size], limits)
        request = parse(body, size)
    planned = plan(manifest, request)
    check_in_json(planned)
    return Understood(request, rows_of(manifest, request.inputs, limits.max_instances), planned)


def schedule(call: Call, wishes: Wishes) -> None:
    """Put into the queue's terms what a request wishes."""
    call.urgency(wishes.priority)
    if wishes.timeout_us:
        call.answer_within(wishes.timeout_us / 1e6)


def refuse(error: ModelyardError) -> Reply:
    """An error as the protocol's clients read it; after a coding that is not read it says which are."""
    status, code, headers = refusal(error)
    if isinstance(error, UnsupportedMedia):
        headers["Accept-Encoding"] = ACCEPTED
    return error_reply(status, code, str(error), headers)


def _takes_long(headers: Headers, body: bytes) -> bool:
    """Binary tensors cost nothing to read, whatever their size; JSON and packed bodies do."""
    if len(body) < LONG_BYTES:
        return "content-encoding" in headers
    stated = headers.get(HEADER, "")
    is_short = stated.isascii() and stated.isdigit() and len(stated) < len(str(LONG_BYTES))
    return "content-encoding" in headers or not is_short


def _finish(
    manifest: Manifest,
    understood: Understood,
    accept: str | None,
    call: Call,
    outputs: Sequence[Tensors],
    _: Sequence[Prepared],
) -> Reply:
    start = now()
    body, size = write(manifest, understood.request.id, outputs_of(understood.planned, outputs))
    headers: list[Header] = [] if size is None else [(HEADER_BYTES, b"%d" % size)]
    coding = chosen(accept, len(body))
    if coding is not None:
        body = compress(body, coding)
        headers.append((b"content-encoding", coding.encode()))
    call.phases["encode"] = now() - start
    return Reply(body, media_type=JSON if size is None else BINARY, headers=tuple(headers))
