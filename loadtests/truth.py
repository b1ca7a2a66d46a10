"""`python -m loadtests.truth MODEL`: the whole test split through a running service, against the bundle's evidence.

The figure that the service's answers earn must be the evidence's, to the last digit, or the exit code is 1.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import httpx
import msgspec
import tyro

from bundle.store import newest, open_bundle
from loadtests.golden import golden_path
from loadtests.server import service
from serving.endpoints import ENDPOINTS
from training.config import TrainConfig
from training.data import Samples
from training.tasks import training_task

CONNECTIONS = 8
FILES_A_REQUEST = 16
ROUNDING = 1e-9


def truth(model: tyro.conf.Positional[Path], /) -> int:
    """Ask the service for every test sample and compare with the evidence.

    Args:
        model: folder of a model that a recipe made, <repository>/<name>; its newest version is asked
    """
    manifest = open_bundle(newest(model)).manifest
    config = TrainConfig.model_validate(manifest.provenance.arguments)
    splits = config.data.load()
    with service(model.parent) as port:
        answers = asyncio.run(_ask(f"http://127.0.0.1:{port}{golden_path(manifest)}", manifest.task, splits.test))
    task = training_task(config.task)(splits.labels, config.preprocess)
    figure = task.score(answers, [splits.test.target(i) for i in range(len(splits.test))])[task.metric_name]
    evidence = manifest.artefacts[manifest.default_artefact].evidence
    proven = evidence.metric["artefact"] if evidence else float("nan")
    print(
        f"{manifest.name} ({manifest.default_artefact}) over HTTP, {len(answers)} test samples: "
        f"{task.metric_name} {figure:.6f}; evidence: {proven:.6f}"
    )
    return 0 if abs(figure - proven) <= ROUNDING else 1


async def _ask(url: str, task: str, test: Samples) -> list[Any]:
    answers: list[Any] = [None] * len(test)
    starts = iter(range(0, len(test), FILES_A_REQUEST))

    async def connection(client: httpx.AsyncClient) -> None:
        for start in starts:
            indices = range(start, min(start + FILES_A_REQUEST, len(test)))
            files = [("file", (f"sample {i}", test.raw(i), test.media_type(i))) for i in indices]
            answer = await client.post(url, files=files)
            answer.raise_for_status()
            decoded: Any = msgspec.json.decode(answer.content, type=ENDPOINTS[task].answer_type)
            for i, prediction in zip(indices, decoded.predictions, strict=True):
                answers[i] = prediction

    async with httpx.AsyncClient(timeout=60) as client:
        await asyncio.gather(*(connection(client) for _ in range(CONNECTIONS)))
    return answers


if __name__ == "__main__":
    sys.exit(tyro.cli(truth, prog="python -m loadtests.truth"))
