"""The form of an endpoint, and the one function that carries a request of any of them from body to answer.

Knows HTTP, inputs, the repository and the pool. Knows nothing of what a task means.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from bundle.errors import BadInput
from bundle.preprocess import Limits
from runtime.predictor import Predictor
from serving.inputs import InputLimits, read_inputs
from serving.media import Medium
from serving.metrics import Metrics
from serving.pool import Pool
from serving.repository import ModelRepository

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


def handler(
    endpoint: Endpoint, models: ModelRepository, pool: Pool, metrics: Metrics, limits: InputLimits
) -> Callable[[Request], Awaitable[Response]]:
    """The route function of an endpoint: parse -> prepare -> compute -> decode -> one write."""

    async def answer(request: Request) -> Response:
        selection, options = read_query(dict(request.query_params), endpoint.options_type)
        predictor = models.find(endpoint.task, selection.model, selection.version)
        name = predictor.manifest.name
        with metrics.phase(name, "parse"):
            raws = await read_inputs(request, endpoint.medium, limits)
        with metrics.phase(name, "prepare"):
            prepared = await pool.prepare(predictor, raws)
        with metrics.phase(name, "compute"):
            outputs = await pool.compute(predictor, [one.tensors for one in prepared])

        def finish() -> Response:
            pairs = zip(outputs, prepared, strict=True)
            predictions = [predictor.decode(row, one, options) for row, one in pairs]
            if endpoint.render is not None and options.format == "png":  # type: ignore[attr-defined]
                return _picture(endpoint.render, raws, predictions, predictor.limits)
            return _document(predictor, predictions)

        with metrics.phase(name, "decode"):
            # Answers that can be drawn hold whole pictures, and encoding those must not hold up other requests.
            response = finish() if endpoint.render is None else await pool.run(finish)
        metrics.count_instances(name, len(prepared))
        return response

    return answer


def _document(predictor: Predictor, predictions: list[msgspec.Struct]) -> Response:
    manifest = predictor.manifest
    body = msgspec.json.encode({"model": manifest.name, "version": manifest.version, "predictions": predictions})
    return Response(body, media_type="application/json")


def _picture(render: Render, raws: list[bytes], predictions: list[msgspec.Struct], limits: Limits) -> Response:
    if len(raws) != 1:
        raise BadInput(f"format=png answers with one picture, and the request holds {len(raws)} inputs; send one")
    return Response(render(raws[0], predictions[0], limits), media_type="image/png")


def read_query(query: dict[str, str], options_type: type[msgspec.Struct]) -> tuple[Selection, msgspec.Struct]:
    """Split a query into which model is meant and the task's options; a name nobody knows is an error.

    Raises:
        BadInput: an unknown parameter, or a value out of range.
    """
    known = [*Selection.__struct_fields__, *options_type.__struct_fields__]
    strangers = sorted(set(query) - set(known))
    if strangers:
        raise BadInput(f"unknown query parameter {', '.join(strangers)}; known are {', '.join(known)}")
    return _convert(query, Selection), _convert(query, options_type)


def _convert(query: dict[str, str], to: type[StructT]) -> StructT:
    mine = {name: query[name] for name in to.__struct_fields__ if name in query}
    try:
        return msgspec.convert(mine, to, strict=False)
    except msgspec.ValidationError as cause:
        given = ", ".join(f"{name}={value!r}" for name, value in mine.items())
        raise BadInput(f"query parameters {given}: {cause}") from None
