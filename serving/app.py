"""Everything is built and joined here: `create_app(settings)`. No module of the service builds anything on import."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bundle.preprocess import Limits
from serving import errors, openai, openapi
from serving.access import Access
from serving.alone import fleet_of
from serving.endpoints import ENDPOINTS
from serving.endpoints.endpoint import handler
from serving.front import Front
from serving.inputs import InputLimits
from serving.lanes import Lanes
from serving.metrics import Metrics
from serving.models import models_router
from serving.oip.health import health_router
from serving.repository import Model, ModelRepository
from serving.served import Serving
from serving.settings import Settings

DESCRIPTION = (
    "Every model here was proven, before it answered, to give its checkpoint's answers. `/v1/models` has the evidence."
)


class Application:
    """FastAPI, with the frame of every request around it, and the predictions answered before it."""

    def __init__(self, api: FastAPI, front: Front) -> None:
        self.api = api
        self.front = front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer HTTP through the front; everything else (the process's life) as FastAPI does."""
        await (self.front if scope["type"] == "http" else self.api)(scope, receive, send)


def create_app(settings: Settings, on_loaded: Callable[[list[Model]], None] | None = None) -> Application:
    """The whole service. Models are brought up in the background once it runs; until then it is live, not ready.

    `on_loaded` is called, off the event loop, when every model is ready or refused.
    """
    metrics = Metrics()
    lanes = Lanes(settings.own_threads)
    limits = Limits(settings.max_input_bytes, settings.max_pixels)
    serving = Serving(
        device=settings.device,
        limits=limits,
        lanes=lanes,
        metrics=metrics,
        layout=settings.layout,
        max_queue=settings.max_queue,
        timeout_s=settings.timeout_ms / 1e3,
        here_ms=settings.here_ms,
    )
    models = ModelRepository(settings.repository, serving)
    access = Access(settings)
    fleet = fleet_of(models, lambda: on_loaded(models.models) if on_loaded else None)  # type: ignore[arg-type]

    def bring_up() -> None:
        models.load(lambda model: metrics.model_ready(model.name, model.version, model.state == "ready"))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(asyncio.to_thread(bring_up))
        await fleet.start(loading)
        yield
        await loading
        await fleet.stop()
        lanes.close()

    api: FastAPI = FastAPIOffline(
        title="Modelyard",
        version=version("modelyard"),
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    api.state.models = models
    errors.install(api)
    api.state.access = access
    front = Front(api, metrics)
    front.guard = access if access.asks_for_keys else None
    input_limits = InputLimits(
        settings.max_body_bytes, settings.max_body_s, settings.max_instances, settings.max_json_elements
    )
    for endpoint in ENDPOINTS.values():
        front.add(endpoint.path, handler(endpoint, models, input_limits))
    front.add(openai.PATH, openai.openai_handler(models, input_limits), openai.refuse)
    api.include_router(models_router(models))
    api.include_router(health_router(fleet))

    @api.get("/metrics", summary="Figures for Prometheus", tags=["health"])
    async def exposition(request: Request) -> Response:
        content, content_type = await metrics.scrape(request.headers.get("accept", ""))
        return Response(content, headers={"Content-Type": content_type})

    openapi.install(api)
    return Application(api, front)
