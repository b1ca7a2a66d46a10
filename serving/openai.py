"""`POST /v1/embeddings` in OpenAI's shape, so that its clients work unchanged; the vectors are those of /v1/text/embed.

Errors have that shape here too: its clients look for `error.message`. Knows the shape, the repository and the pool.
Knows nothing of how vectors are made.
"""

import base64
from typing import Annotated, Literal

import msgspec
import numpy as np
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from bundle.errors import BadInput, ModelyardError
from bundle.tasks.sentence_embedding import SentenceEmbedding
from runtime.predictor import Predictor
from serving.endpoints import sentence_embedding
from serving.errors import refusal, sendable
from serving.inputs import InputLimits, check_number, read_body
from serving.metrics import Metrics
from serving.openapi import described
from serving.pool import Pool
from serving.repository import ModelRepository

PATH = "/v1/embeddings"


class EmbeddingsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to embed, by which model."""

    model: str
    input: str | list[str | int | list[int]]
    """A text or several; token ids are read only to say that they are not taken."""
    encoding_format: Literal["float", "base64"] | None = None
    """base64: little-endian float32, which is what OpenAI's Python client asks for where its caller says nothing."""
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """May be given, and must then be what the model gives."""
    user: str | None = None
    """Ignored."""


class EmbeddingItem(msgspec.Struct, frozen=True):
    """One text's vector."""

    index: int
    embedding: list[float] | str
    truncated: bool
    """Not OpenAI's: whether the text was longer than what was read."""
    object: Literal["embedding"] = "embedding"


class EmbeddingsUsage(msgspec.Struct, frozen=True):
    """Tokens that were read, special ones included."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(msgspec.Struct, frozen=True):
    """Vectors in the order of the texts."""

    data: list[EmbeddingItem]
    model: str
    usage: EmbeddingsUsage
    object: Literal["list"] = "list"


class OpenAIErrorDetail(msgspec.Struct, frozen=True):
    """What was wrong, and what is expected."""

    message: str
    type: str
    code: str
    param: str | None = None


class OpenAIError(msgspec.Struct, frozen=True):
    """The shape of an error here."""

    error: OpenAIErrorDetail


def openai_router(models: ModelRepository, pool: Pool, metrics: Metrics, limits: InputLimits) -> APIRouter:
    """The route, over the models and the threads of every other endpoint."""
    router = APIRouter(tags=["predict"])

    async def answer(request: Request) -> EmbeddingsAnswer:
        asked = parse(await read_body(request, limits))
        predictor = models.find(sentence_embedding.ENDPOINT.task, asked.model, None)
        name = predictor.manifest.name
        with metrics.phase(name, "parse"):
            raws = texts(asked, limits)
            _check_dimensions(asked, predictor)
        with metrics.phase(name, "prepare"):
            prepared = await pool.prepare(predictor, raws)
        with metrics.phase(name, "compute"):
            outputs = await pool.compute(predictor, [one.tensors for one in prepared])
        with metrics.phase(name, "decode"):
            embedded = [predictor.decode(row, one) for row, one in zip(outputs, prepared, strict=True)]
        metrics.count_instances(name, len(prepared))
        return shape(name, asked.encoding_format, embedded)  # type: ignore[arg-type] # this task's answers

    @router.post(
        PATH,
        summary="Embed texts, in OpenAI's shape",
        openapi_extra=described(EmbeddingsRequest, EmbeddingsAnswer, OpenAIError),
    )
    async def embeddings(request: Request) -> Response:
        try:
            return Response(msgspec.json.encode(await answer(request)), media_type="application/json")
        except ModelyardError as error:
            return _refused(error)

    return router


def parse(body: bytes) -> EmbeddingsRequest:
    """Read a request.

    Raises:
        BadInput: not JSON, an unknown key, or a value that is not allowed.
    """
    try:
        return msgspec.json.decode(body, type=EmbeddingsRequest)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as cause:
        raise BadInput(f'the body is not {{"model": "...", "input": "<text>" or ["<text>", ...]}}: {cause}') from None


def texts(asked: EmbeddingsRequest, limits: InputLimits) -> list[bytes]:
    """The texts of a request, at least one, in order.

    Raises:
        BadInput: no text, or token ids. InputTooLarge: too many texts.
    """
    given = [asked.input] if isinstance(asked.input, str) else asked.input
    check_number(len(given), limits)
    read = [text for text in given if isinstance(text, str)]
    if len(read) < len(given):
        raise BadInput("input holds token ids; they belong to another model's vocabulary. Send texts as strings")
    return [text.encode() for text in read]


def shape(name: str, encoding_format: str | None, embedded: list[SentenceEmbedding]) -> EmbeddingsAnswer:
    """Answers of the task -> OpenAI's answer."""
    write = _base64 if encoding_format == "base64" else list
    items = [EmbeddingItem(i, write(one.embedding), one.truncated) for i, one in enumerate(embedded)]
    num_tokens = sum(one.num_tokens for one in embedded)
    return EmbeddingsAnswer(items, name, EmbeddingsUsage(num_tokens, num_tokens))


def _base64(vector: tuple[float, ...]) -> str:
    return base64.b64encode(np.array(vector, "<f4").tobytes()).decode()


def _check_dimensions(asked: EmbeddingsRequest, predictor: Predictor) -> None:
    (output,) = predictor.manifest.outputs
    if asked.dimensions not in (None, output.shape[-1]):
        raise BadInput(
            f"dimensions is {asked.dimensions}; model '{asked.model}' gives {output.shape[-1]} and its vectors cannot "
            "be shortened: leave dimensions out"
        )


def _refused(error: ModelyardError) -> Response:
    status, code, headers = refusal(error)
    kind = "invalid_request_error" if status < 500 else "server_error"
    body = msgspec.json.encode(OpenAIError(OpenAIErrorDetail(sendable(str(error)), kind, code)))
    return Response(body, status, headers, media_type="application/json")
