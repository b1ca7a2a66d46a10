"""`python -m loadtests.truth MODEL`: the whole test split through a running service, against the bundle's evidence.

The service's accuracy must be the evidence's to the last picture, or the exit code is 1.
"""

import asyncio
import sys
from pathlib import Path

import httpx
import tyro

from bundle.store import newest, open_bundle
from loadtests.server import service
from serving.endpoints import ENDPOINTS
from training.data import Samples, data_config

CONNECTIONS = 8
FILES_A_REQUEST = 16


def truth(model: tyro.conf.Positional[Path], /) -> int:
    """Ask the service for every test sample and compare with the evidence.

    Args:
        model: folder of a model, <repository>/<name>; its newest version is asked
    """
    manifest = open_bundle(newest(model)).manifest
    test = data_config(manifest.provenance.arguments["data"]).load().test
    with service(model.parent) as port:
        url = f"http://127.0.0.1:{port}{ENDPOINTS[manifest.task].path}?model={manifest.name}&top_k=1"
        answers = asyncio.run(_ask(url, test))
    right = sum(answer == manifest.decode.labels[test.target(i)] for i, answer in enumerate(answers))
    evidence = manifest.artefacts[manifest.default_artefact].evidence
    proven = round((evidence.metric["artefact"] if evidence else 0.0) * len(test))
    print(f"{manifest.name} ({manifest.default_artefact}) over HTTP: {right} of {len(test)} right; evidence: {proven}")
    return 0 if right == proven else 1


async def _ask(url: str, test: Samples) -> list[str]:
    answers = [""] * len(test)
    starts = iter(range(0, len(test), FILES_A_REQUEST))

    async def connection(client: httpx.AsyncClient) -> None:
        for start in starts:
            indices = range(start, min(start + FILES_A_REQUEST, len(test)))
            files = [("file", (f"{i}.png", test.raw(i), test.media_type(i))) for i in indices]
            answer = await client.post(url, files=files)
            answer.raise_for_status()
            for i, prediction in zip(indices, answer.json()["predictions"], strict=True):
                answers[i] = prediction["label"]

    async with httpx.AsyncClient(timeout=60) as client:
        await asyncio.gather(*(connection(client) for _ in range(CONNECTIONS)))
    return answers


if __name__ == "__main__":
    sys.exit(tyro.cli(truth, prog="python -m loadtests.truth"))
