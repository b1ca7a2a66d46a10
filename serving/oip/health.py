"""`/v2/health/live` and `/v2/health/ready`: 200 or 503 with the reason; clients test the status alone."""

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from serving.repository import ModelRepository


def health_router(models: ModelRepository) -> APIRouter:
    """Routes for one repository."""
    router = APIRouter(tags=["health"])

    @router.get("/v2/health/live", summary="Is the process alive?")
    async def live() -> Response:
        reason = models.not_live_because()
        return _json(503, {"live": False, "error": reason}) if reason else _json(200, {"live": True})

    @router.get("/v2/health/ready", summary="Is everything decided, and does at least one model answer?")
    async def ready() -> Response:
        reason = models.not_ready_because()
        return _json(503, {"ready": False, "error": reason}) if reason else _json(200, {"ready": True})

    return router


def _json(status: int, content: dict[str, object]) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
