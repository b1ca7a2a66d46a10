"""`/v1/models`: what is served, what is refused and why, with the evidence; and for admins rollback and canary.

`object` and `data` stand beside `models` for OpenAI's clients: the models that they can use, as they list them. Knows
manifests and HTTP.
"""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from bundle.manifest import Manifest
from serving.endpoints import sentence_embedding
from serving.repository import ModelRepository
from serving.slots import ModelState

Admin = Callable[[Request], object]
"""Raises unless the request shows an admin key."""


class Operations(Protocol):
    """What changes which version answers."""

    async def rollback(self, name: str) -> int:
        """Serve the version before."""
        ...

    async def promote(self, name: str) -> int:
        """Let the canary answer."""
        ...


def models_router(models: ModelRepository, operations: Operations, admin: Admin) -> APIRouter:
    """Routes for one repository; `operations` reach every process of the service."""
    router = APIRouter(tags=["models"])

    @router.get("/v1/models", summary="List models with labels, input, artefacts and evidence")
    async def list_models() -> Response:
        known = models.models
        listed = {"models": [describe(model) for model in known], "object": "list", "data": for_openai(known)}
        return _json(listed)

    @router.post("/v1/models/{name}/rollback", summary="Serve the version before (admins)")
    async def rollback(request: Request, name: str) -> Response:
        admin(request)
        return _json({"model": name, "version": await operations.rollback(name)})

    @router.get("/v1/models/{name}/canary", summary="How the canary compares with what answers (admins)")
    async def canary(request: Request, name: str) -> Response:
        admin(request)
        return _json(models.canary(name))

    @router.post("/v1/models/{name}/promote", summary="Let the canary answer (admins)")
    async def promote(request: Request, name: str) -> Response:
        admin(request)
        return _json({"model": name, "version": await operations.promote(name)})

    return router


def _json(content: object) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")


def describe(model: ModelState) -> dict[str, Any]:
    """One model as JSON values; a refused one has a reason in place of a description."""
    entry: dict[str, Any] = {"name": model.name, "version": model.version, "state": model.state}
    if model.served is None:
        return entry | {"reason": model.reason}
    manifest = model.served.manifest
    if model.reason:
        entry["reason"] = model.reason
    return entry | {
        "task": manifest.task,
        "labels": getattr(manifest.decode, "labels", ()),
        "decode": manifest.decode.model_dump(mode="json"),
        "input": manifest.preprocess.model_dump(mode="json"),
        "max_batch_size": manifest.max_batch_size,
        "artefact": manifest.default_artefact,
        "artefacts": _artefacts(manifest),
        "left_out": {one.artefact: one.reason for one in manifest.left_out},
        "digest": manifest.digest,
    }


def for_openai(models: list[ModelState]) -> list[dict[str, Any]]:
    """The models that OpenAI's clients can ask here; a bundle does not say when it was made."""
    embedding = sentence_embedding.ENDPOINT.task
    names = {model.name: None for model in models if model.served and model.served.manifest.task == embedding}
    return [{"id": name, "object": "model", "created": 0, "owned_by": "modelyard"} for name in names]


def _artefacts(manifest: Manifest) -> dict[str, Any]:
    return {
        name: {
            "runtime": artefact.runtime,
            "precision": artefact.precision,
            "proven_against": artefact.evidence.proven_against,
            "metric": {artefact.evidence.metric_name: artefact.evidence.metric},
            "num_test_samples": artefact.evidence.num_test_samples,
            "checks": len(artefact.evidence.checks),
            "median_ms": artefact.evidence.latency.median_ms,
        }
        for name, artefact in manifest.artefacts.items()
        if artefact.evidence
    }
