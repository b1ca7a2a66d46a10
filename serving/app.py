"""Everything is built and joined here: `create_app(settings)`. No module of the service builds anything on import."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from bundle.preprocess import Limits
from serving import errors
from serving.batching.lanes import Lanes
from serving.batching.placing import DEVICES, Devices, placing_of
from serving.endpoints import ENDPOINTS
from serving.endpoints.endpoint import handler
from serving.http import openai, openapi
from serving.http.front import Front
from serving.http.inputs import InputLimits
from serving.http.metrics_port import METRICS, metrics_response, watchers_app
from serving.http.models import models_router
from serving.observing.drift import Drift
from serving.observing.endings import Endings
from serving.observing.golden_watch import GoldenWatch
from serving.observing.metrics import Metrics
from serving.observing.tracing import Tracing, open_tracing
from serving.oip import infer
from serving.oip.health import health_router
from serving.oip.rest import Admin, routers
from serving.repository.repository import ModelRepository
from serving.repository.served import ServedModel, Serving
from serving.repository.slots import ModelState
from serving.security.access import Access, require_admin
from serving.settings import Settings
from serving.workers.alone import Alone, fleet_of
from serving.workers.drain import Beside
from serving.workers.fleet import Fleet

if TYPE_CHECKING:
    from serving.oip.grpc_server import GrpcServer

DESCRIPTION = (
    "Every model here was proven, before it answered, to give its checkpoint's answers. `/v1/models` has the evidence."
)

OnLoaded = Callable[[list[ModelState]], None]


class Application:
    """FastAPI, with the frame of every request around it, and the predictions answered before it."""

    def __init__(self, api: FastAPI, front: Front, watchers: ASGIApp, beside: Beside | None = None) -> None:
        self.api = api
        self.front = front
        self.watchers = watchers
        """What is answered on the port for metrics and health, where there is one."""
        self.beside = beside
        """The gRPC server, where there is one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer HTTP through the front; everything else (the process's life) as FastAPI does."""
        await (self.front if scope["type"] == "http" else self.api)(scope, receive, send)


@dataclass(frozen=True)
class Parts:
    """What the service is made of."""

    settings: Settings
    access: Access
    metrics: Metrics
    tracing: Tracing | None
    endings: Endings
    drift: Drift
    lanes: Lanes
    models: ModelRepository
    fleet: Alone | Fleet
    """Who speaks for all processes that share the port."""
    grpc: "GrpcServer | None"


def create_app(settings: Settings, on_loaded: OnLoaded | None = None, devices: Devices = DEVICES) -> Application:
    """The whole service. Models are brought up in the background once it runs; until then it is live, not ready.

    `on_loaded` is called, on the event loop, when every model is ready or refused (in every process, by one of them).
    `devices` says what this machine has.

    Raises:
        BadInput: keys, certificates or tracing that cannot be used, or settings that contradict each other.
    """
    parts = _parts(settings, on_loaded, devices)
    api: FastAPI = FastAPIOffline(
        title="Modelyard",
        version=version("modelyard"),
        description=DESCRIPTION,
        lifespan=_lifespan(parts),
        redirect_slashes=False,
    )
    errors.install(api)
    api.state.models, api.state.access = parts.models, parts.access
    front = Front(api, parts.endings)
    front.guard = parts.access if parts.access.asks_for_keys else None
    _add_routes(api, front, parts)
    openapi.install(api)
    watchers = watchers_app(parts.fleet, parts.metrics, lambda: front.draining)
    return Application(api, front, watchers, parts.grpc)


def _parts(settings: Settings, on_loaded: OnLoaded | None, devices: Devices) -> Parts:
    placing = placing_of(settings, devices)
    metrics = Metrics(settings.nv_metrics)
    drift = Drift(metrics)
    lanes = Lanes(placing.num_lanes(settings.own_threads))
    serving = Serving(
        placing=placing,
        limits=Limits(settings.max_input_bytes, settings.max_pixels),
        lanes=lanes,
        metrics=metrics,
        drift=drift,
        layout=settings.layout,
        max_queue=settings.max_queue,
        timeout_s=settings.timeout_ms / 1e3,
        here_ms=settings.here_ms,
    )
    watch = GoldenWatch(settings.golden_every_s, settings.golden_limit_s, settings.golden_failures_to_die)
    models = ModelRepository(
        settings.repository,
        lambda bundle, of_model, without: ServedModel(bundle, of_model, serving, without),
        metrics,
        settings.poll_s,
        watch if settings.golden_every_s else None,
        placing.wanted.engines,
    )
    access = Access(settings)
    fleet = fleet_of(models, lambda: on_loaded(models.models) if on_loaded else None)
    tracing = open_tracing(settings.tracing)
    endings = Endings(metrics, tracing)
    grpc = None
    if settings.grpc_port is not None:
        from serving.oip.grpc_server import grpc_server  # a third of a second that only those pay who use it

        grpc = grpc_server(settings, models, metrics, access, endings, fleet)
    return Parts(settings, access, metrics, tracing, endings, drift, lanes, models, fleet, grpc)


def _lifespan(parts: Parts) -> Callable[[FastAPI], Any]:
    """The life of the process, from the first socket to the last."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        parts.metrics.start()
        at_work = [asyncio.create_task(_bring_up(parts.models)), asyncio.create_task(parts.drift.run())]
        await parts.fleet.start(at_work[0])
        yield
        await parts.models.close()
        await _ended(*at_work)
        await parts.fleet.stop()
        parts.lanes.close()
        parts.metrics.stop()
        if parts.tracing is not None:
            parts.tracing.close()

    return lifespan


async def _bring_up(models: ModelRepository) -> None:
    """Start the models; what is there then stays, so the garbage collector need not look at it again.

    It would, in the middle of requests, for up to 50 ms.
    """
    await models.start()
    gc.freeze()
    gc.enable()


async def _ended(bringing_up: "asyncio.Task[None]", *for_ever: "asyncio.Task[None]") -> None:
    """What was begun is finished, what never ends is ended."""
    await bringing_up
    for task in for_ever:
        task.cancel()
    await asyncio.gather(*for_ever, return_exceptions=True)


def _add_routes(api: FastAPI, front: Front, parts: Parts) -> None:
    settings, models = parts.settings, parts.models
    limits = InputLimits(
        settings.max_body_bytes, settings.max_body_s, settings.max_instances, settings.max_json_elements
    )
    for endpoint in ENDPOINTS.values():
        front.add(endpoint.path, handler(endpoint, models, limits))
    front.add(openai.PATH, openai.openai_handler(models, limits), openai.refuse)
    front.add_pattern(infer.PREFIX, infer.SUFFIX, infer.TEMPLATE, infer.infer_handler(models, limits), infer.refuse)
    api.include_router(models_router(models, parts.fleet, require_admin))
    api.include_router(health_router(parts.fleet))
    admin = Admin(bool(settings.admin_keys or settings.admin_keys_file), require_admin, parts.fleet)
    for router in routers(models, parts.metrics, admin, limits):
        api.include_router(router)

    @api.get(METRICS, summary="Figures for Prometheus", tags=["health"])
    async def exposition(request: Request) -> Response:
        return await metrics_response(parts.metrics, request.headers.get("accept", ""))
