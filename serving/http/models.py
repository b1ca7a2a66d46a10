"""`/v1/models`: what is served, what is refused and why, with the evidence; and for admins rollback and canary.

`object` and `data` stand beside `models` for OpenAI's clients: the models that they can use, as they list them. Knows
manifests and HTTP.
"""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from serving.endpoints import sentence_embedding
from serving.repository.repository import ModelRepository
from serving.repository.served import ServedModel
from serving.repository.slots import ModelState

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
    reason = "; ".join(filter(None, (model.reason, model.served.batcher.shortage.remark)))
    if reason:
        entry["reason"] = reason
    return entry | {
        "task": manifest.task,
        "labels": getattr(manifest.decode, "labels", ()),
        "decode": manifest.decode.model_dump(mode="json"),
        "input": manifest.preprocess.model_dump(mode="json"),
        "max_batch_size": manifest.max_batch_size,
        **_running(model.served),
        "artefacts": _artefacts(model.served),
        "left_out": {one.artefact: one.reason for one in manifest.left_out},
        "digest": manifest.digest,
    }


def for_openai(models: list[ModelState]) -> list[dict[str, Any]]:
    """The models that OpenAI's clients can ask here; a bundle does not say when it was made."""
    embedding = sentence_embedding.ENDPOINT.task
    names = {model.name: None for model in models if model.served and model.served.manifest.task == embedding}
    return [{"id": name, "object": "model", "created": 0, "owned_by": "modelyard"} for name in names]


def _running(served: ServedModel) -> dict[str, Any]:
    """What answers, where, and why that."""
    choice = served.choice
    told: dict[str, Any] = {
        "largest_batch": served.batcher.shortage.largest,
        "artefact": choice.artefact,
        "runtime": choice.runtime,
        "precision": choice.precision,
        "device": str(choice.device),
        "why": choice.why,
    }
    tuned = served.tuned.shown(served.batcher.shortage.largest, served.policy.instances)
    if tuned is not None:
        told["tuned"] = tuned
    if choice.fell_back:
        told["fell_back"] = choice.fell_back
    if choice.record is not None and choice.record.file is not None:
        told["engine"] = choice.record.file
    if served.placed.is_gpu:
        told["gpus"] = [one.index for one in served.placed.placements]
        told["instances"] = served.policy.instances
    return told


def _artefacts(served: ServedModel) -> dict[str, Any]:
    """Those that the bundle has evidence for; what is made for a GPU has to be proven there too."""
    manifest, proven_here = served.manifest, served.choice.proven_here
    return {
        name: {
            "runtime": artefact.runtime,
            "precision": artefact.precision,
            "device": artefact.device,
            **({"to_be_proven_on": "cuda"} if artefact.device == "cuda" and name not in proven_here else {}),
            "proven_against": artefact.evidence.proven_against,
            "metric": {artefact.evidence.metric_name: artefact.evidence.metric},
            "num_test_samples": artefact.evidence.num_test_samples,
            "checks": len(artefact.evidence.checks),
            "median_ms": artefact.evidence.latency.median_ms,
        }
        for name, artefact in manifest.artefacts.items()
        if artefact.evidence
    }
