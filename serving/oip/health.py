"""`/v2/health/live` and `/v2/health/ready`: 200 or 503 with the reason; clients test the status alone."""

from typing import Protocol

import msgspec
from fastapi import APIRouter
from starlette.responses import Response


class Health(Protocol):
    """Whoever can tell: the models of this process, or all processes that share the port."""

    def not_ready_because(self) -> str:
        """Why the service should get no traffic, or ""."""

    def not_live_because(self) -> str:
        """Why the service should be started again, or ""."""


def health_router(health: Health) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["health"])

    @router.get("/v2/health/live", summary="Can this service still answer?")
    async def live() -> Response:
        reason = health.not_live_because()
        return _json(503, {"live": False, "error": reason}) if reason else _json(200, {"live": True})

    @router.get("/v2/health/ready", summary="Is everything decided, and does at least one model answer?")
    async def ready() -> Response:
        reason = health.not_ready_because()
        return _json(503, {"ready": False, "error": reason}) if reason else _json(200, {"ready": True})

    return router


def _json(status: int, content: dict[str, object]) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
