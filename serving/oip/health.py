"""`/v2/health/live` and `/v2/health/ready`: 200 or 503 with the reason; most clients test the status alone.

KServe's reads `live` of the one body and `ready` of the other; both bodies hold both.
"""

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from serving.errors import sendable
from serving.repository import ModelRepository


def health_router(models: ModelRepository) -> APIRouter:
    """Routes for one repository."""
    router = APIRouter(tags=["health"])

    @router.get("/v2/health/live", summary="Is the process alive, and do its models still answer as they did?")
    async def live() -> Response:
        return _health(models, models.not_live_because())

    @router.get("/v2/health/ready", summary="Is everything decided, and does at least one model answer?")
    async def ready() -> Response:
        return _health(models, models.not_ready_because())

    return router


def _health(models: ModelRepository, reason: str) -> Response:
    content: dict[str, object] = {"live": not models.not_live_because(), "ready": not models.not_ready_because()}
    if reason:
        content["error"] = sendable(reason)
    return Response(msgspec.json.encode(content), 503 if reason else 200, media_type="application/json")
