"""The form of an endpoint, and the one function that carries a request of any of them from body to answer.

Knows HTTP, inputs, the repository and its queues. Knows nothing of what a task means.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request

from bundle.errors import BadInput
from bundle.manifest import Manifest
from bundle.preprocess import Limits, Prepared
from bundle.tensors import Tensors
from serving.batching.call import Call, now
from serving.http.front import Handler, watched
from serving.http.inputs import InputLimits, read_inputs
from serving.http.media import Medium
from serving.http.reply import Reply
from serving.repository.repository import ModelRepository

StructT = TypeVar("StructT", bound=msgspec.Struct)
Render = Callable[[bytes, Any, Limits], bytes]
"""(raw input, prediction, limits) -> a PNG file."""


@dataclass(frozen=True)
class Endpoint:
    """What one task looks like over HTTP."""

    path: str
    task: str
    summary: str
    medium: Medium
    """What kind of input it takes."""
    options_type: type[msgspec.Struct]
    """What a caller may choose, as query parameters."""
    result_type: type[msgspec.Struct]
    """One prediction."""
    render: Render | None = None
    """Draws one prediction on its input, for `?format=png`; the options then have a field `format`."""
    example: str = ""
    """A query that shows what it can do."""

    @property
    def answer_type(self) -> type[msgspec.Struct]:
        """The body of an answer: model, version, and one prediction an input, in order."""
        fields = [("model", str), ("version", int), ("predictions", list[self.result_type])]  # type: ignore[name-defined]
        return msgspec.defstruct(f"{self.result_type.__name__}Answer", fields, frozen=True)


class Selection(msgspec.Struct, frozen=True):
    """Which model a request means."""

    model: str | None = None
    version: int | None = None


def handler(endpoint: Endpoint, models: ModelRepository, limits: InputLimits) -> Handler:
    """The handler of an endpoint: parse, then prepare -> compute -> decode -> encode in the model's queue."""

    async def answer(request: Request, call: Call) -> Reply:
        selection, options = read_query(request.scope["query_string"], endpoint.options_type)
        served = models.find(endpoint.task, selection.model, selection.version)
        raws = await read_inputs(request, endpoint.medium, limits)
        served = models.find(endpoint.task, selection.model, selection.version)  # it may have been replaced meanwhile
        call.phases["parse"] = now() - call.arrived

        def finish(outputs: list[Tensors], prepared: list[Prepared]) -> Reply:
            predictor = served.predictor
            pairs = zip(outputs, prepared, strict=True)
            predictions = [predictor.decode(row, one, options) for row, one in pairs]
            start = now()
            if endpoint.render is not None and options.format == "png":  # type: ignore[attr-defined]
                reply = _picture(endpoint.render, raws, predictions, predictor.limits)
            else:
                reply = Reply(encode_answer(served.manifest, predictions))
            call.phases["encode"] = now() - start
            return reply

        return await watched(request, call, served.ask(call, raws, finish))

    return answer


def encode_answer(manifest: Manifest, predictions: list[msgspec.Struct]) -> bytes:
    """The body of every answer of /v1."""
    return msgspec.json.encode({"model": manifest.name, "version": manifest.version, "predictions": predictions})


def _picture(render: Render, raws: list[bytes], predictions: list[msgspec.Struct], limits: Limits) -> Reply:
    if len(raws) != 1:
        raise BadInput(f"format=png answers with one picture, and the request holds {len(raws)} inputs; send one")
    return Reply(render(raws[0], predictions[0], limits), media_type=b"image/png")


@lru_cache(maxsize=1024)  # clients repeat themselves; all of it is immutable
def read_query(query: bytes, options_type: type[msgspec.Struct]) -> tuple[Selection, msgspec.Struct]:
    """Split a query string into which model is meant and the task's options; a name nobody knows is an error.

    Raises:
        BadInput: an unknown parameter, or a value out of range.
    """
    given = dict(QueryParams(query))
    known = [*Selection.__struct_fields__, *options_type.__struct_fields__]
    strangers = sorted(set(given) - set(known))
    if strangers:
        raise BadInput(f"unknown query parameter {', '.join(strangers)}; known are {', '.join(known)}")
    return _convert(given, Selection), _convert(given, options_type)


def _convert(query: dict[str, str], to: type[StructT]) -> StructT:
    mine = {name: query[name] for name in to.__struct_fields__ if name in query}
    try:
        return msgspec.convert(mine, to, strict=False)
    except msgspec.ValidationError as cause:
        given = ", ".join(f"{name}={value!r}" for name, value in mine.items())
        raise BadInput(f"query parameters {given}: {cause}") from None
