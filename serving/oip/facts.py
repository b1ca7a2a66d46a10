"""What the protocol's questions about a server and its models are answered with, for REST and gRPC alike.

Knows the repository and what it serves. Knows nothing of HTTP, gRPC or inference.
"""

import re
from collections.abc import Sequence
from typing import Any, Protocol

from bundle.errors import BadInput, ModelNotFound
from bundle.spec import NAME_PATTERN
from serving.observing.metrics import Metrics
from serving.observing.statistics import statistics
from serving.oip.metadata import Scheduling, model_config, model_metadata
from serving.repository.repository import ModelRepository
from serving.repository.served import ServedModel
from serving.workers.fleet import State

STATES = {"ready": "READY", "loading": "LOADING", "draining": "UNLOADING"}
"""Our states -> the protocol's; any other is UNAVAILABLE, with the reason beside it."""

MAX_VERSION_DIGITS = 18


def find(models: ModelRepository, name: str, version: str = "") -> ServedModel:
    """The model that a request means; the version as it came, or "".

    Raises:
        ModelNotFound: no such model or version. ModelNotReady: it does not answer.
    """
    try:
        return models.find(None, name, version_number(version))
    except ModelNotFound as cause:
        raise ModelNotFound(f"Request for unknown model: {cause}") from None


def version_number(text: str) -> int | None:
    """A version as it came, or None where none is named.

    Raises:
        ModelNotFound: it is no number, so there is no such version.
    """
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_VERSION_DIGITS):
        raise ModelNotFound(f"there is no version '{text:.40}'; versions are whole numbers from 1 on")
    return int(text)


def check_name(name: str) -> None:
    """Hold a name to what a model can be called, before anything is looked for.

    Raises:
        BadInput: no model has such a name.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise BadInput(f"'{name:.100}' is no name of a model: letters, digits, _ and -, at most 64")


def served_versions(models: ModelRepository, name: str) -> list[int]:
    """The versions of a model that answer."""
    return sorted(one.version for one in models.models if one.name == name and one.served is not None)


def metadata_of(models: ModelRepository, served: ServedModel) -> dict[str, Any]:
    """Model metadata."""
    return model_metadata(served.manifest, served_versions(models, served.name), served.choice.runtime)


def config_of(models: ModelRepository, served: ServedModel, max_rows: int) -> dict[str, Any]:
    """Model configuration; `max_rows` is the most that a request may hold."""
    policy, placed = served.policy, served.placed
    gpus = tuple(one.index for one in placed.placements) if placed.is_gpu else ()
    scheduling = Scheduling(
        max_batch_size=min(policy.max_batch_size, max_rows),
        max_queue_delay_us=round(policy.max_queue_delay_s * 1e6),
        max_queue=policy.max_queue,
        timeout_us=round(served.timeout_s * 1e6),
        instances=placed.placements[0].slots if placed.is_gpu else policy.instances,
        gpus=gpus,
        runtime=served.choice.runtime,
        file=served.choice.path.name,
    )
    return model_config(served.manifest, scheduling, served_versions(models, served.name))


def statistics_of(models: ModelRepository, metrics: Metrics, name: str = "", version: str = "") -> dict[str, Any]:
    """Statistics of one version, of all versions of a model, or of everything that answers; integers all.

    Raises:
        ModelNotFound, ModelNotReady: a model is named that is not there, or does not answer.
    """
    one = find(models, name, version) if name else None
    asked = sorted(
        (state.name, state.version)
        for state in models.models
        if state.served is not None
        and name in ("", state.name)
        and (one is None or not version or state.version == one.version)
    )
    nothing: dict[str, Any] = {"response_stats": {}, "memory_usage": []}
    return {"model_stats": [nothing | known for known in statistics(metrics, asked)]}


class Listing(Protocol):
    """Whoever knows every model version: this process's repository, or all processes that share the port."""

    @property
    def models(self) -> Sequence[State]:
        """Every version."""


def index_of(models: Listing, ready_only: bool = False) -> list[dict[str, str]]:
    """Every version that the repository knows of."""
    entries = [
        {
            "name": one.name,
            "version": str(one.version),
            "state": STATES.get(one.state, "UNAVAILABLE"),
            "reason": one.reason,
        }
        for one in models.models
    ]
    return [entry for entry in entries if entry["state"] == "READY" or not ready_only]
