"""What is asked of a model under load: inputs of one size to be fast with, and golden inputs whose answers are checked.

Expected answers are those of the same artefact in this process; a row in a batch may round differently, and that much
is allowed. Knows bundles and endpoints. Knows nothing of servers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bundle.store import Bundle, newest, open_bundle
from bundle.tensors import Tensors
from loadtests.client import Check, Request, post
from loadtests.golden import other_scores
from loadtests.wrk import Target
from runtime.predictor import Predictor, load_predictor
from serving.endpoints import ENDPOINTS

ROUNDING = 1e-4
"""Of a score, or of 1 - cosine; what batches were seen to differ by is 1e-7."""
NUM_TEXTS = 8
SENTENCE = (
    "the small yard on the river makes proven models for people who ask them every day and wait for no answer longer "
    "than they must because a queue that grows is a promise which somebody breaks when the morning comes"
)
WORDS_A_TEXT = 20


@dataclass(frozen=True)
class Questions:
    """Of one model."""

    bundle: Bundle
    path: str
    media_type: str
    bodies: tuple[bytes, ...]
    """Inputs of like size, to drive with."""
    golden: tuple[Request, ...]
    """Golden inputs and these bodies, with a check each."""
    rows: tuple[Tensors, ...]
    """The bodies, prepared."""
    answer: bytes
    """What the service answers to the first body."""

    @property
    def name(self) -> str:
        """The model's."""
        return self.bundle.manifest.name

    def service(self, port: int, header: str | None = None) -> Target:
        """Where the service answers them."""
        return Target(port, self.path, self.media_type, self.bodies, header)

    def plain(self, port: int) -> Target:
        """Where referee and echo answer them."""
        return Target(port, f"/{self.name}", self.media_type, self.bodies)

    def checked(self, path: str, header: str | None = None) -> list[Request]:
        """The golden requests for another server's path, or with a header."""
        headers = [header] if header else []
        return [
            post(path, self.media_type, one.wire.partition(b"\r\n\r\n")[2], one.check, headers) for one in self.golden
        ]


def questions(model: Path) -> Questions:
    """Of the newest version of a model, <repository>/<name>, as its default artefact answers on the CPU."""
    bundle = open_bundle(newest(model))
    return questions_for(bundle, load_predictor(bundle), ROUNDING)


def questions_for(bundle: Bundle, predictor: Predictor, rounding: float) -> Questions:
    """As this predictor answers, give or take a rounding."""
    manifest = bundle.manifest
    samples = bundle.golden()
    raws = [sample.raw for sample in samples]
    bodies = texts() if manifest.task == "sentence-embedding" else raws
    media_type = samples[0].media_type
    path = f"{ENDPOINTS[manifest.task].path}?model={manifest.name}"
    golden = [post(path, media_type, raw, check(predictor, raw, rounding)) for raw in dict.fromkeys([*raws, *bodies])]
    rows = [predictor.prepare(body).tensors for body in bodies]
    return Questions(
        bundle, path, media_type, tuple(bodies), tuple(golden), tuple(rows), document(predictor, bodies[0])
    )


def texts() -> list[bytes]:
    """Texts of twenty words, the same ones at every call."""
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(SENTENCE.split(), WORDS_A_TEXT)).encode() for _ in range(NUM_TEXTS)]


def document(predictor: Predictor, raw: bytes) -> bytes:
    """The service's answer to one input."""
    manifest = predictor.manifest
    predictions = predictor.predict([raw])
    return msgspec.json.encode({"model": manifest.name, "version": manifest.version, "predictions": predictions})


def check(predictor: Predictor, raw: bytes, rounding: float = ROUNDING) -> Check:
    """Whether a body is the artefact's own answer to one input, by any version of the same model."""
    manifest = predictor.manifest
    (expected,) = predictor.predict([raw])
    same = msgspec.json.encode(expected)
    answer_type = ENDPOINTS[manifest.task].answer_type

    def problem(body: bytes) -> str | None:
        if body.endswith(b'"predictions":[' + same + b"]}"):
            return None
        try:
            got: Any = msgspec.json.decode(body, type=answer_type)
        except msgspec.MsgspecError as cause:
            return f"not an answer of {manifest.name}: {cause}: {body[:200]!r}"
        if got.model != manifest.name or len(got.predictions) != 1:
            return f"{len(got.predictions)} answers of '{got.model}', expected one of '{manifest.name}'"
        prediction = got.predictions[0]
        return predictor.task.agree(expected, prediction, rounding) or other_scores(expected, prediction, rounding)

    return problem
