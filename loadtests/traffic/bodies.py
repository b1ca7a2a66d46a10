"""Golden samples as requests of /v1 in every form of body, each with a check against the checkpoint's own answer.

Answers are held to what export proved of the artefact that answers: the task's own `agree`, at the artefact's
tolerance, with the options that the golden answers were made with. Knows bundles and endpoints. Knows nothing of servers.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from bundle.golden import Golden
from bundle.store import Bundle
from bundle.tasks import TASKS
from bundle.tasks.sentence_embedding import SentenceEmbedding
from loadtests.golden import golden_path
from loadtests.traffic.case import Answer, Case, Check
from loadtests.traffic.families import JSON, MULTIPART, RAW
from serving.endpoints import ENDPOINTS
from serving.http.media import IMAGES, SERIES
from serving.http.openai import PATH as OPENAI_PATH
from serving.http.openai import EmbeddingsAnswer

BOUNDARY = "modelyard-traffic-boundary"
FILES_A_REQUEST = 3
"""Of a multipart or JSON body; enough that order and number can be wrong."""


@dataclass(frozen=True)
class Proven:
    """A model that answers, and what is known of its answers."""

    bundle: Bundle
    artefact: str
    """The one that answers."""

    @property
    def name(self) -> str:
        """The model's."""
        return self.bundle.manifest.name

    @property
    def task_id(self) -> str:
        """What it does."""
        return self.bundle.manifest.task

    @property
    def task(self) -> Any:
        """The meaning of its outputs."""
        return TASKS[self.task_id](self.bundle.manifest.decode)

    @property
    def atol(self) -> float:
        """How far the artefact's answers may be from the checkpoint's; proven at export."""
        return self.bundle.manifest.artefacts[self.artefact].atol

    def samples(self) -> list[Golden]:
        """The golden ones."""
        return self.bundle.golden()


def task_cases(family: str, model: Proven) -> list[Case]:
    """Each golden sample raw, and a few at once as multipart and as JSON."""
    samples = model.samples()
    path = golden_path(model.bundle.manifest)
    route = ENDPOINTS[model.task_id].path

    def case(form: str, media_type: str, body: bytes, asked: Sequence[Golden]) -> Case:
        return Case(family, form, route, path, body, (("Content-Type", media_type),), answers_check(model, asked))

    cases = [case(RAW, one.media_type, one.raw, [one]) for one in samples]
    for start in range(len(samples)):
        some = [samples[(start + i) % len(samples)] for i in range(FILES_A_REQUEST)]
        cases.append(case(MULTIPART, f"multipart/form-data; boundary={BOUNDARY}", multipart(some), some))
        cases.append(case(JSON, "application/json", instances(model.task_id, some), some))
    return cases


def answers_check(model: Proven, asked: Sequence[Golden]) -> Check:
    """Whether an answer holds, in order, what the checkpoint said of each input."""
    answer_type, task, name, atol = ENDPOINTS[model.task_id].answer_type, model.task, model.name, model.atol
    expected = [sample.answer for sample in asked]

    def problem(answer: Answer) -> str | None:
        got: Any = decoded(answer.body, answer_type)
        if isinstance(got, str):
            return f"not an answer of {name}: {got}"
        if got.model != name or len(got.predictions) != len(expected):
            return f"{len(got.predictions)} answers of '{got.model}', expected {len(expected)} of '{name}'"
        return differs(name, expected, got.predictions, task.agree, atol)

    return problem


def openai_cases(family: str, model: Proven) -> list[Case]:
    """Texts in OpenAI's shape: one, or several at once; vectors as numbers, or as base64."""
    samples = model.samples()
    cases = []
    for start in range(len(samples)):
        some = [samples[(start + i) % len(samples)] for i in range(1 if start % 2 else FILES_A_REQUEST)]
        for form in ("float", "base64"):
            texts = [sample.raw.decode() for sample in some]
            body = msgspec.json.encode({"model": model.name, "input": texts, "encoding_format": form})
            headers = (("Content-Type", "application/json"),)
            cases.append(Case(family, form, OPENAI_PATH, OPENAI_PATH, body, headers, openai_check(model, some)))
    return cases


def openai_check(model: Proven, asked: Sequence[Golden]) -> Check:
    """The vectors of /v1/text/embed, and the tokens of all texts together."""
    expected: list[Any] = [sample.answer for sample in asked]
    tokens = sum(one.num_tokens for one in expected)
    task, name, atol = model.task, model.name, model.atol

    def problem(answer: Answer) -> str | None:
        got = decoded(answer.body, EmbeddingsAnswer)
        if isinstance(got, str):
            return f"not embeddings in OpenAI's shape: {got}"
        shape = (got.model, [one.index for one in got.data], got.usage.total_tokens)
        if shape != (name, list(range(len(expected))), tokens):
            return f"(model, indices, tokens) {shape}, expected {(name, list(range(len(expected))), tokens)}"
        # Tokens are told for all texts together: each text's own are taken as expected, their sum is compared above.
        answers = [
            SentenceEmbedding(_vector(item.embedding), wanted.num_tokens, item.truncated)
            for item, wanted in zip(got.data, expected, strict=True)
        ]
        return differs(name, expected, answers, task.agree, atol)

    return problem


def _vector(written: list[float] | str) -> tuple[float, ...]:
    if isinstance(written, str):
        return tuple(np.frombuffer(base64.b64decode(written), "<f4").tolist())
    return tuple(written)


def decoded(body: bytes, kind: type[Any]) -> Any:
    """A body as its type, or text that says why it is none."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as cause:
        return f"{cause}: {body[:200]!r}"


def differs(
    name: str, expected: Sequence[Any], got: Sequence[Any], agree: Callable[[Any, Any, float], str | None], atol: float
) -> str | None:
    """The first answer that is not what was expected, with both."""
    for i, (wanted, given) in enumerate(zip(expected, got, strict=True)):
        problem = agree(wanted, given, atol)
        if problem:
            return f"{name}, input {i + 1} of {len(expected)}: {problem}"
    return None


def multipart(samples: Sequence[Golden]) -> bytes:
    """Files of one form."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{i}"\r\n'
        f"Content-Type: {sample.media_type}\r\n\r\n".encode()
        + sample.raw
        + b"\r\n"
        for i, sample in enumerate(samples)
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def instances(task: str, samples: Sequence[Golden]) -> bytes:
    """The JSON body: pictures in base64, texts as texts, series as numbers."""
    medium = ENDPOINTS[task].medium
    return msgspec.json.encode({"instances": [_instance(medium.name, sample) for sample in samples]})


def _instance(medium: str, sample: Golden) -> Any:
    if medium == IMAGES.name:
        return {"b64": base64.b64encode(sample.raw).decode()}
    if medium == SERIES.name:
        (row,) = sample.inputs.values()
        return row.astype(float).ravel().tolist()
    return sample.raw.decode()
