"""`GET /v1/models`: what is served, what is refused and why, with the evidence. Knows manifests and HTTP.

`object` and `data` stand beside `models` for OpenAI's clients: the models that they can use, as they list them.
"""

from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from bundle.manifest import Manifest
from serving.endpoints import sentence_embedding
from serving.repository import Model, ModelRepository


def models_router(models: ModelRepository) -> APIRouter:
    """Routes for one repository."""
    router = APIRouter(tags=["models"])

    @router.get("/v1/models", summary="List models with labels, input, artefacts and evidence")
    async def list_models() -> Response:
        known = models.models
        listed = {"models": [describe(model) for model in known], "object": "list", "data": for_openai(known)}
        return Response(msgspec.json.encode(listed), media_type="application/json")

    return router


def describe(model: Model) -> dict[str, Any]:
    """One model as JSON values; a refused one has a reason in place of a description."""
    entry: dict[str, Any] = {"name": model.name, "version": model.version, "state": model.state}
    if model.served is None:
        return entry | {"reason": model.reason}
    manifest = model.served.manifest
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


def for_openai(models: list[Model]) -> list[dict[str, Any]]:
    """The models that OpenAI's clients can ask here; a bundle does not say when it was made."""
    return [
        {"id": model.name, "object": "model", "created": 0, "owned_by": "modelyard"}
        for model in models
        if model.served and model.served.manifest.task == sentence_embedding.ENDPOINT.task
    ]


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
