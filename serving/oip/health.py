"""`/v2/health/live` and `/v2/health/ready`: 200 or 503 with the reason; most clients test the status alone.

KServe's reads `live` of the one body and `ready` of the other; both bodies hold both.
"""

from typing import Protocol

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from serving.errors import sendable

LIVE, READY = "/v2/health/live", "/v2/health/ready"


class Health(Protocol):
    """Whoever can tell: the models of this process, or all processes that share the port."""

    def not_ready_because(self) -> str:
        """Why the service should get no traffic, or ""."""

    def not_live_because(self) -> str:
        """Why the service should be started again, or ""."""


def health_router(health: Health) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["health"])

    @router.get(LIVE, summary="Can this service still answer?")
    async def live() -> Response:
        return live_response(health)

    @router.get(READY, summary="Is everything decided, and does at least one model answer?")
    async def ready() -> Response:
        return ready_response(health)

    return router


def live_response(health: Health) -> Response:
    """200, or 503 with the reason why the service should be started again."""
    not_live, not_ready = health.not_live_because(), health.not_ready_because()
    return _json(not_live, live=not not_live, ready=not not_ready)


def ready_response(health: Health) -> Response:
    """200, or 503 with the reason why the service should get no traffic."""
    not_live, not_ready = health.not_live_because(), health.not_ready_because()
    return _json(not_ready, live=not not_live, ready=not not_ready)


def _json(reason: str, **content: bool) -> Response:
    told = content | ({"error": sendable(reason)} if reason else {})
    return Response(msgspec.json.encode(told), 503 if reason else 200, media_type="application/json")
