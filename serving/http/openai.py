"""`POST /v1/embeddings` in OpenAI's shape, so that its clients work unchanged; the vectors are those of /v1/text/embed.

Errors have that shape here too: its clients look for `error.message`. Knows the shape and the repository.
Knows nothing of how vectors are made.
"""

import base64
from typing import Annotated, Literal

import msgspec
import numpy as np
from starlette.requests import Request

from bundle.errors import BadInput, ModelyardError
from bundle.manifest import Manifest
from bundle.preprocess import Prepared
from bundle.tasks.sentence_embedding import SentenceEmbedding
from bundle.tensors import Tensors
from serving.batching.call import Call, now
from serving.endpoints import sentence_embedding
from serving.errors import refusal, sendable
from serving.http.front import Handler, watched
from serving.http.inputs import InputLimits, check_elements, check_number, read_body
from serving.http.reply import Reply, header_pairs
from serving.repository.repository import ModelRepository

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


def openai_handler(models: ModelRepository, limits: InputLimits) -> Handler:
    """The handler of the route, over the models and queues of every other endpoint."""

    async def answer(request: Request, call: Call) -> Reply:
        body = await read_body(request, limits)
        check_elements(body, limits)
        asked = parse(body)
        served = models.find(sentence_embedding.ENDPOINT.task, asked.model, None)
        raws = texts(asked, limits)
        _check_dimensions(asked, served.manifest)
        call.phases["parse"] = now() - call.arrived

        def finish(outputs: list[Tensors], prepared: list[Prepared]) -> Reply:
            decode = served.predictor.decode
            embedded = [decode(row, one) for row, one in zip(outputs, prepared, strict=True)]
            return Reply(msgspec.json.encode(shape(served.name, asked.encoding_format, embedded)))  # type: ignore[arg-type] # this task's answers

        return await watched(request, call, served.ask(call, raws, finish))

    return answer


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


def _check_dimensions(asked: EmbeddingsRequest, manifest: Manifest) -> None:
    (output,) = manifest.outputs
    if asked.dimensions not in (None, output.shape[-1]):
        raise BadInput(
            f"dimensions is {asked.dimensions}; model '{asked.model}' gives {output.shape[-1]} and its vectors cannot "
            "be shortened: leave dimensions out"
        )


def refuse(error: ModelyardError) -> Reply:
    """An error in OpenAI's shape."""
    status, code, headers = refusal(error)
    kind = "invalid_request_error" if status < 500 else "server_error"
    body = msgspec.json.encode(OpenAIError(OpenAIErrorDetail(sendable(str(error)), kind, code)))
    return Reply(body, status, headers=header_pairs(headers))
