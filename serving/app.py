"""Everything is built and joined here: `create_app(settings)`. No module of the service builds anything on import."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.requests import Request
from starlette.responses import Response

from bundle.preprocess import Limits
from serving import errors, openapi
from serving.endpoints import ENDPOINTS
from serving.endpoints.endpoint import handler
from serving.inputs import InputLimits
from serving.metrics import CountRequests, Metrics
from serving.models import models_router
from serving.oip.health import health_router
from serving.openai import EmbeddingsAnswer, EmbeddingsRequest, OpenAIError, openai_router
from serving.pool import Pool
from serving.repository import Model, ModelRepository
from serving.settings import Settings

DESCRIPTION = (
    "Every model here was proven, before it answered, to give its checkpoint's answers. `/v1/models` has the evidence."
)


def create_app(settings: Settings, on_loaded: Callable[[list[Model]], None] | None = None) -> FastAPI:
    """The whole service. Models are brought up in the background once it runs; until then it is live, not ready.

    `on_loaded` is called, off the event loop, when every model is ready or refused.
    """
    limits = Limits(settings.max_input_bytes, settings.max_pixels)
    models = ModelRepository(settings.repository, settings.device, limits)
    pool = Pool(settings.threads)
    metrics = Metrics()

    def bring_up() -> None:
        models.load(lambda model: metrics.model_ready(model.name, model.version, model.state == "ready"))
        if on_loaded:
            on_loaded(models.models)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(asyncio.to_thread(bring_up))
        yield
        await loading
        pool.close()

    app = FastAPIOffline(
        title="Modelyard",
        version=version("modelyard"),
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.models = models
    errors.install(app)
    app.add_middleware(CountRequests, metrics=metrics)
    input_limits = InputLimits(settings.max_body_bytes, settings.max_body_s, settings.max_instances)
    for endpoint in ENDPOINTS.values():
        app.add_api_route(
            endpoint.path,
            handler(endpoint, models, pool, metrics, input_limits),
            methods=["POST"],
            summary=endpoint.summary,
            tags=["predict"],
            openapi_extra=openapi.operation(endpoint),
        )
    app.include_router(openai_router(models, pool, metrics, input_limits))
    app.include_router(models_router(models))
    app.include_router(health_router(models))

    @app.get("/metrics", summary="Figures for Prometheus", tags=["health"])
    async def exposition(request: Request) -> Response:
        content, content_type = metrics.exposition(request.headers.get("accept", ""))
        return Response(content, headers={"Content-Type": content_type})

    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    """Add the schemas that the operations refer to."""
    generated = app.openapi
    schemas = openapi.components(EmbeddingsRequest, EmbeddingsAnswer, OpenAIError)

    def with_components() -> dict[str, Any]:
        schema = generated()
        schema.setdefault("components", {}).setdefault("schemas", {}).update(schemas)
        return schema

    app.openapi = with_components  # type: ignore[method-assign]
