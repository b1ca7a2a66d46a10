"""What /openapi.json says of inference over `/v2`, which is answered before the framework and so not among its routes.

Made from the types that are really read. Knows the OpenAPI form. Knows nothing of how requests are answered.
"""

from typing import Any

import msgspec

from serving.oip.infer import TEMPLATE
from serving.oip.request import HEADER, InferDocument, Value

VERSION_TEMPLATE = "/v2/models/{name}/versions/{version}/infer"


class OutputAnswer(msgspec.Struct, frozen=True):
    """One output; binary ones have `binary_data_size` in place of data."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Value] | None = None
    data: list[Any] | None = None
    """Flat, row by row; what is no number is null."""


class InferAnswer(msgspec.Struct, frozen=True):
    """Outputs in the order asked for."""

    model_name: str
    model_version: str
    outputs: list[OutputAnswer]
    id: str | None = None


DESCRIBED = (InferDocument, InferAnswer)
"""The types that the operations below refer to."""

FAILURES = {
    "400": "What the request says cannot be answered.",
    "404": "No such model or version.",
    "408": "The body did not arrive in time.",
    "413": "Over a limit.",
    "415": "A content coding that is not read.",
    "501": "A part of the protocol that is not done here.",
    "503": "The model does not answer now, or its queue is full.",
    "504": "The time of the request was up.",
}


def infer_paths(ref: str) -> dict[str, Any]:
    """Path -> operation; `ref` is where schemas lie, with {name} in it."""
    return {
        TEMPLATE: {"post": _operation(ref, "name")},
        VERSION_TEMPLATE: {"post": _operation(ref, "name", "version")},
    }


def _operation(ref: str, *in_path: str) -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}

    def bodies(document: type[msgspec.Struct]) -> dict[str, Any]:
        schema = {"$ref": ref.format(name=document.__name__)}
        return {"application/json": {"schema": schema}, "application/octet-stream": binary}

    error = {"application/json": {"schema": {"$ref": ref.format(name="Error")}}}
    parameters = [{"name": one, "in": "path", "required": True, "schema": {"type": "string"}} for one in in_path]
    header = {"name": HEADER, "in": "header", "required": False, "schema": {"type": "string"}}
    header["description"] = "Bytes of JSON before the binary tensors; 0: the body is the one input."
    return {
        "summary": "Run a model on tensors, or on encoded inputs",
        "operationId": "_".join(("infer", *in_path)),
        "tags": ["open inference protocol"],
        "parameters": [*parameters, header],
        "requestBody": {"required": True, "content": bodies(InferDocument)},
        "responses": {
            "200": {"description": "Outputs, as JSON, or as JSON and binary tensors.", "content": bodies(InferAnswer)},
            **{code: {"description": text, "content": error} for code, text in FAILURES.items()},
        },
    }
