"""How golden answers are asked for over HTTP, and what of an answer is compared besides what its task calls agreement.

Knows manifests and endpoints. Knows nothing of servers.
"""

from typing import Any
from urllib.parse import urlencode

import msgspec

from bundle.manifest import Manifest
from bundle.tasks import TASKS
from bundle.tasks.classification import Classification
from serving.endpoints import ENDPOINTS


def golden_path(manifest: Manifest) -> str:
    """Path and query with the options that the golden answers, and the evidence, were made with."""
    options = msgspec.to_builtins(TASKS[manifest.task](manifest.decode).golden_options())
    chosen = {"model": manifest.name} | {name: value for name, value in options.items() if value is not None}
    return f"{ENDPOINTS[manifest.task].path}?{urlencode(chosen)}"


def other_scores(expected: Any, got: Any, limit: float) -> str | None:
    """Labels agree where the best one does, verdicts where they are the same; under load every score has to be, too.

    Else somebody else's answer would pass, where it happens to say the same.
    """
    wanted, given = _scores(expected), _scores(got)
    apart = max((abs(one - other) for one, other in zip(wanted, given, strict=False)), default=0.0)
    if apart <= limit and len(wanted) == len(given):
        return None
    return f"scores are {apart:.3g} apart, {len(wanted)} expected and {len(given)} got"


def _scores(answer: Any) -> list[float]:
    if isinstance(answer, Classification):
        return [one.score for one in answer.top_k]
    return [answer.anomaly_score] if hasattr(answer, "anomaly_score") else []
