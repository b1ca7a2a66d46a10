"""(d): what a good engineer writes for one model instead of using Modelyard, in one file: FastAPI, a sized thread pool.

Raw bodies, msgspec for the answers, one onnxruntime session with one thread a request, pictures decoded by OpenCV and
texts split by `tokenizers`, and none of the checks that the service makes. The answers are the service's, byte for
byte where the engine's are, so both can be checked by the same. `python -m loadtests.referee MODEL... --port 8000`.

Knows a bundle's folder as somebody would who was handed it. Knows nothing of `serving`.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import onnxruntime as ort
import tyro
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response
from tokenizers import Tokenizer

Answer = Callable[[bytes], bytes]
"""A raw input -> the JSON document that answers it. Safe in several threads."""
Session = Any
"""An onnxruntime session, which has no types."""
SETTINGS_VARIABLE = "BENCH_REFEREE"
encode = msgspec.json.encode


@dataclass(frozen=True)
class Settings:
    """Of one server."""

    models: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of bundles, <repository>/<name>/<version>; each is answered at POST /<name>."""
    port: int = 8000
    workers: int = 1
    """Processes on the port."""
    threads: int = 0
    """Threads of each process; 0: as many as processors, shared out among the processes."""
    queue_limit: int = 0
    """Requests that may wait; beyond, 503 at once. 0: any number."""


class LabelScore(msgspec.Struct):
    """A label with its score."""

    label: str
    score: float


class Classification(msgspec.Struct):
    """The best labels."""

    label: str
    score: float
    top_k: list[LabelScore]


class Embedding(msgspec.Struct):
    """A vector."""

    embedding: list[float]
    num_tokens: int
    truncated: bool


def load(bundle: Path, threads: int = 1, spinning: bool = False) -> Answer:
    """A bundle's default artefact, ready to answer."""
    manifest = msgspec.json.decode((bundle / "manifest.json").read_bytes())
    kind = manifest["preprocess"]["kind"]
    if runtime_of(manifest) != "onnxruntime" or (manifest["task"], kind) not in BY_HAND:
        return by_the_bundle(bundle)
    return BY_HAND[manifest["task"], kind](bundle, manifest, session_of(bundle, threads, spinning))


def session_of(bundle: Path, threads: int = 1, spinning: bool = False) -> Session:
    """The default artefact's session."""
    manifest = msgspec.json.decode((bundle / "manifest.json").read_bytes())
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    file = manifest["artefacts"][manifest["default_artefact"]]["file"]
    return ort.InferenceSession(bundle / file, options, providers=["CPUExecutionProvider"])


def runtime_of(manifest: dict[str, Any]) -> str:
    """The engine of the default artefact."""
    return str(manifest["artefacts"][manifest["default_artefact"]]["runtime"])


def classify_pictures(bundle: Path, manifest: dict[str, Any], session: Session) -> Answer:
    """Decode, shrink, run, the five best labels."""
    cv2.setNumThreads(1)
    form, labels = manifest["preprocess"], manifest["decode"]["labels"]
    height, width, colour = form["height_px"], form["width_px"], form["color"] == "rgb"
    shape = (1, height, width, 3 if colour else 1)
    flag = cv2.IMREAD_COLOR_RGB if colour else cv2.IMREAD_GRAYSCALE
    best = min(manifest["decode"]["default_top_k"], len(labels))

    def answer(raw: bytes) -> bytes:
        image = cv2.imdecode(np.frombuffer(raw, np.uint8), flag)
        if image is None:
            raise ValueError("not a picture")
        if image.shape[:2] != (height, width):
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        scores = session.run(None, {"image": image.reshape(shape)})[0][0]
        order = (-scores).argsort(kind="stable")[:best].tolist()
        top = [LabelScore(labels[i], float(scores[i])) for i in order]
        return document(manifest, Classification(top[0].label, top[0].score, top))

    return answer


def embed_texts(bundle: Path, manifest: dict[str, Any], session: Session) -> Answer:
    """Tokenise, pad to a multiple, run."""
    form = manifest["preprocess"]
    tokenizer = Tokenizer.from_file(str(bundle / form["tokenizer"]))
    tokenizer.no_padding()
    tokenizer.enable_truncation(form["max_tokens"])
    step, longest, pad = form["pad_to_multiple"], form["max_tokens"], form["pad_id"]
    names = [one.name for one in session.get_inputs()]

    def answer(raw: bytes) -> bytes:
        encoding = tokenizer.encode(raw.decode())
        ids = encoding.ids
        rows = {name: np.zeros((1, min(-(-len(ids) // step) * step, longest)), np.int64) for name in names}
        rows["input_ids"][:] = pad
        rows["input_ids"][0, : len(ids)] = ids
        rows["attention_mask"][0, : len(ids)] = 1
        vector = session.run(None, rows)[0][0].tolist()
        return document(manifest, Embedding(vector, len(ids), bool(encoding.overflowing)))

    return answer


def by_the_bundle(bundle: Path) -> Answer:
    """Any other task: the bundle's own functions, called by hand."""
    from bundle.store import open_bundle
    from runtime.predictor import load_predictor

    predictor = load_predictor(open_bundle(bundle))
    manifest = {"name": predictor.manifest.name, "version": predictor.manifest.version}
    return lambda raw: document(manifest, predictor.predict([raw])[0])


BY_HAND: dict[tuple[str, str], Callable[[Path, dict[str, Any], Session], Answer]] = {
    ("image-classification", "image-resize"): classify_pictures,
    ("sentence-embedding", "text-tokens"): embed_texts,
}
"""(task, kind of preprocessing) -> what answers it."""


def document(manifest: dict[str, Any], prediction: msgspec.Struct) -> bytes:
    """The service's answer to one input."""
    return encode({"model": manifest["name"], "version": manifest["version"], "predictions": [prediction]})


def create() -> FastAPI:
    """The application, by the settings in the environment: every worker process makes its own."""
    settings = msgspec.json.decode(os.environ[SETTINGS_VARIABLE])
    pool = ThreadPoolExecutor(settings["threads"])
    app = FastAPI(openapi_url=None)

    @app.get("/ready")
    async def ready() -> Response:
        return Response(b"yes")

    for folder in map(Path, settings["models"]):
        app.post(f"/{folder.parent.name}")(_route(load(folder), pool, settings["queue_limit"]))
    return app


def _route(answer: Answer, pool: ThreadPoolExecutor, queue_limit: int) -> Callable[[Request], Any]:
    waiting = 0

    async def predict(request: Request) -> Response:
        nonlocal waiting
        raw = await request.body()
        if queue_limit and waiting >= queue_limit:
            return Response(b'{"error": "overloaded"}', 503, media_type="application/json")
        waiting += 1
        try:
            body = await asyncio.get_running_loop().run_in_executor(pool, answer, raw)
        except ValueError as cause:
            return Response(encode({"error": str(cause)}), 400, media_type="application/json")
        finally:
            waiting -= 1
        return Response(body, media_type="application/json")

    return predict


def main() -> None:
    """Serve until told to stop."""
    settings = tyro.cli(Settings, prog="python -m loadtests.referee")
    threads = settings.threads or max(1, len(os.sched_getaffinity(0)) // settings.workers)
    os.environ[SETTINGS_VARIABLE] = encode(
        {"models": [str(folder) for folder in settings.models], "threads": threads, "queue_limit": settings.queue_limit}
    ).decode()
    uvicorn.run(
        "loadtests.referee:create",
        factory=True,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
