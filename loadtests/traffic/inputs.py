"""Inputs of one's own: nobody has proven what the answers are, so they must be the same each time.

What was answered first is what is expected from then on, in each process. Knows files and endpoints. Knows nothing of
servers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bundle.golden import SUFFIXES
from loadtests.golden import golden_path
from loadtests.traffic.bodies import Proven, decoded, differs
from loadtests.traffic.case import Answer, Case, Check
from loadtests.traffic.families import RAW, TrafficError
from serving.endpoints import ENDPOINTS
from serving.http.media import IMAGES

MOST = 200
"""Files that are taken, the first by name: all of them lie in memory."""
MEDIA_TYPES = {suffix: media_type for media_type, suffix in SUFFIXES.items()} | {"jpeg": "image/jpeg"}


def read_inputs(folder: Path) -> list[tuple[str, bytes]]:
    """(media type, content) of every file below a folder that could be an input.

    Raises:
        TrafficError: there is none.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.suffix[1:].lower() in MEDIA_TYPES and path.is_file()]
    if not files:
        raise TrafficError(f"--inputs {folder}: no file there whose name ends in .{', .'.join(sorted(MEDIA_TYPES))}")
    return [(MEDIA_TYPES[path.suffix[1:].lower()], path.read_bytes()) for path in files[:MOST]]


def input_cases(family: str, model: Proven, inputs: Sequence[tuple[str, bytes]]) -> list[Case]:
    """Those that the model's endpoint takes, as raw bodies."""
    endpoint = ENDPOINTS[model.task_id]
    accepts = endpoint.medium.accepts
    taken = accepts if endpoint.medium is IMAGES else accepts[:1]  # to a model of series, plain text is no series
    path = golden_path(model.bundle.manifest)
    return [
        Case(family, RAW, endpoint.path, path, raw, (("Content-Type", media_type),), same_check(model))
        for media_type, raw in inputs
        if media_type in taken
    ]


def same_check(model: Proven) -> Check:
    """Whether an answer is the one that came first."""
    answer_type, task, name, atol = ENDPOINTS[model.task_id].answer_type, model.task, model.name, model.atol
    first: list[Any] = []

    def problem(answer: Answer) -> str | None:
        got: Any = decoded(answer.body, answer_type)
        if isinstance(got, str):
            return f"not an answer of {name}: {got}"
        if got.model != name or len(got.predictions) != 1:
            return f"{len(got.predictions)} answers of '{got.model}', expected one of '{name}'"
        if not first:
            first.extend(got.predictions)
        told = differs(name, first, got.predictions, task.agree, atol)
        return f"not what it said before: {told}" if told else None

    return problem
