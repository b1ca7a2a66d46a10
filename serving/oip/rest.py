"""The questions of `/v2` beside inference: health, metadata, configuration, statistics, the repository.

What belongs to the protocol and is not done here says so with 501, and is not among the server's extensions.
Knows HTTP. Knows nothing of how a question is answered (facts.py).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from bundle.errors import BadInput, ModelNotReady, ModelyardError, Unsupported
from serving.errors import sendable
from serving.http.inputs import InputLimits, check_elements, read_body
from serving.observing.metrics import Metrics
from serving.oip.facts import Listing, check_name, config_of, find, index_of, metadata_of, statistics_of
from serving.oip.metadata import server_metadata
from serving.repository.repository import ModelRepository

StructT = TypeVar("StructT", bound=msgspec.Struct)

TAG = "open inference protocol"
MODEL = "/v2/models/{name}"
VERSION = MODEL + "/versions/{version}"

FAILURES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "No such model or version, a body that cannot be read, or not allowed."},
    501: {"description": "A part of the protocol that is not done here."},
    503: {"description": "The model does not answer; the error says why."},
}
"""Besides what they say, these keep the framework from describing a 422 that is never answered."""

NOT_HERE = {
    "shared memory": (
        "/v2/systemsharedmemory/{action}",
        "/v2/systemsharedmemory/region/{region}/{action}",
        "/v2/cudasharedmemory/{action}",
        "/v2/cudasharedmemory/region/{region}/{action}",
    ),
    "trace settings": ("/v2/trace/setting", MODEL + "/trace/setting"),
    "log settings": ("/v2/logging",),
    "generation": tuple(path + kind for path in (MODEL, VERSION) for kind in ("/generate", "/generate_stream")),
}
"""What of the protocol is not done, and the paths it would have."""


class Operations(Listing, Protocol):
    """What knows and changes what is served, in every process of the service."""

    async def load(self, name: str) -> None:
        """Bring a model up, or its newest version in place of what it serves."""
        ...

    async def unload(self, name: str) -> None:
        """Take a model away."""
        ...


class LoadDocument(msgspec.Struct, frozen=True):
    """The body of a load or unload; it may be empty."""

    parameters: dict[str, bool | int | float | str] = {}


class IndexDocument(msgspec.Struct, frozen=True):
    """The body of an index; it may be empty."""

    ready: bool = False


@dataclass(frozen=True)
class Admin:
    """Who may change what is served, and what then happens."""

    is_on: bool
    """Whether an admin key is set at all."""
    require: Callable[[Request], Any]
    """Returns where a request comes from an admin; raises Forbidden or Unauthenticated where not."""
    operations: Operations


def routers(models: ModelRepository, metrics: Metrics, admin: Admin, limits: InputLimits) -> list[APIRouter]:
    """Everything of `/v2` but health and inference; in this order, since a path may fit several."""
    return [
        server_router(models, metrics, admin.is_on),
        repository_router(admin, limits),
        not_here_router(),
        model_router(models, metrics, limits.max_instances),
    ]


def server_router(models: ModelRepository, metrics: Metrics, is_admin_on: bool) -> APIRouter:
    """What may be asked of the server."""
    router = APIRouter(tags=[TAG])

    async def server() -> Response:
        return _json(server_metadata(is_admin_on))

    async def statistics() -> Response:
        return _json(statistics_of(models, metrics))

    router.add_api_route("/v2", server, summary="Name, version, extensions")
    router.add_api_route("/v2/", server, include_in_schema=False)
    router.add_api_route("/v2/models/stats", statistics, summary="Statistics of every model")
    return router


def model_router(models: ModelRepository, metrics: Metrics, max_rows: int) -> APIRouter:
    """What may be asked of a model; `max_rows` is the most that a request may hold."""
    router = APIRouter(tags=[TAG])

    async def metadata(name: str, version: str = "") -> Response:
        return _json(metadata_of(models, find(models, name, version)))

    async def ready(name: str, version: str = "") -> Response:
        try:
            find(models, name, version)
        except ModelNotReady as cause:
            return _json({"name": name, "ready": False, "error": sendable(str(cause))}, 503)
        return _json({"name": name, "ready": True})

    async def config(name: str, version: str = "") -> Response:
        return _json(config_of(models, find(models, name, version), max_rows))

    async def stats(name: str, version: str = "") -> Response:
        return _json(statistics_of(models, metrics, name, version))

    _add_both(router, "", metadata, "Tensors and versions of a model")
    _add_both(router, "/ready", ready, "Does a model answer?")
    _add_both(router, "/config", config, "How a model is run")
    _add_both(router, "/stats", stats, "What a model has done")
    return router


def _add_both(router: APIRouter, path: str, question: Callable[..., Awaitable[Response]], summary: str) -> None:
    """A question about the version that answers by default, and the same about a named one."""

    async def default(name: str) -> Response:
        return await question(name)

    async def named(name: str, version: str) -> Response:
        return await question(name, version)

    router.add_api_route(MODEL + path, default, summary=summary, responses=FAILURES)
    router.add_api_route(VERSION + path, named, summary=f"{summary} (one version)", responses=FAILURES)


def repository_router(admin: Admin, limits: InputLimits) -> APIRouter:
    """The index, for everybody who may ask; load and unload, for admins."""
    router = APIRouter(tags=[TAG])

    async def index(request: Request) -> Response:
        asked = await _read(request, limits, IndexDocument)
        return _json(index_of(admin.operations, asked.ready))

    async def load(request: Request, name: str) -> Response:
        admin.require(request)
        check_name(name)
        asked = await _read(request, limits, LoadDocument)
        foreign = [one for one in asked.parameters if one == "config" or one.startswith("file:")]
        if foreign:
            raise Unsupported(
                f"failed to load '{name}': parameter '{foreign[0]:.100}' would bring a model in a request; models come "
                "from the repository folder alone, with proof"
            )
        try:
            await admin.operations.load(name)
        except ModelyardError as cause:
            raise _as_failed_load(name, cause) from None
        return Response()

    async def unload(request: Request, name: str) -> Response:
        admin.require(request)
        check_name(name)
        await _read(request, limits, LoadDocument)
        await admin.operations.unload(name)
        return Response()

    one = "/v2/repository/models/{name}"
    for path, action, summary in (
        ("/v2/repository/index", index, "Every model and its state"),
        (f"{one}/load", load, "Load a model, or its newest version (admins)"),
        (f"{one}/unload", unload, "Take a model away (admins)"),
    ):
        router.add_api_route(path, action, methods=["POST"], summary=summary, responses=FAILURES)
    return router


def not_here_router() -> APIRouter:
    """Everything of the protocol that is not done."""
    router = APIRouter()
    for what, paths in NOT_HERE.items():
        for path in paths:
            router.add_api_route(path, _refusing(what), methods=["GET", "POST"], include_in_schema=False)
    return router


def _refusing(what: str) -> Callable[[Request], Awaitable[Response]]:
    async def refuse(request: Request) -> Response:
        raise Unsupported(f"{request.method} {request.url.path}: {what} is no part of this server; see /v2 for what is")

    return refuse


def _as_failed_load(name: str, cause: ModelyardError) -> ModelyardError:
    text = str(cause)
    return cause if text.startswith("failed to load") else type(cause)(f"failed to load '{name}': {text}")


async def _read(request: Request, limits: InputLimits, document: type[StructT]) -> StructT:
    body = await read_body(request, limits)
    check_elements(body, limits)
    try:
        return msgspec.json.decode(body or b"{}", type=document)
    except (msgspec.MsgspecError, ValueError, RecursionError) as cause:
        raise BadInput(f"the JSON body cannot be read: {cause}") from None


def _json(content: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
