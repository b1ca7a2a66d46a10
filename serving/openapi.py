"""What /docs and /openapi.json say of the endpoints, made from the types that they really read and write.

Knows endpoints' types and the OpenAPI form. Knows nothing of how requests are answered.
"""

from typing import Any

import msgspec
from fastapi import FastAPI

from serving import openai
from serving.endpoints import ENDPOINTS, Endpoint
from serving.endpoints.endpoint import Selection
from serving.inputs import ANY_BYTES

REF = "#/components/schemas/{name}"


class Error(msgspec.Struct, frozen=True):
    """Every error has this body."""

    error: str
    code: str


def install(app: FastAPI) -> None:
    """Describe the predictions, which are answered before the framework and so are not among its routes."""
    generated = app.openapi

    def whole() -> dict[str, Any]:
        schema = generated()
        paths = schema.setdefault("paths", {})
        for endpoint in ENDPOINTS.values():
            paths[endpoint.path] = {"post": _named(endpoint.path, endpoint.summary) | operation(endpoint)}
        described_types = (openai.EmbeddingsRequest, openai.EmbeddingsAnswer, openai.OpenAIError)
        embeddings = _named(openai.PATH, "Embed texts, in OpenAI's shape") | described(*described_types)
        paths[openai.PATH] = {"post": embeddings}
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(components(*described_types))
        return schema

    app.openapi = whole  # type: ignore[method-assign]


def _named(path: str, summary: str) -> dict[str, Any]:
    operation_id = path.strip("/").replace("/", "_")
    return {"summary": summary, "operationId": operation_id, "tags": ["predict"]}


def operation(endpoint: Endpoint) -> dict[str, Any]:
    """The OpenAPI operation of an endpoint: parameters, bodies, answers."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    files = {
        "type": "object",
        "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
        "required": ["file"],
    }
    bodies: dict[str, Any] = dict.fromkeys((*endpoint.medium.accepts, ANY_BYTES), binary)
    bodies["multipart/form-data"] = {"schema": files}
    bodies["application/json"] = {"schema": {"$ref": REF.format(name=endpoint.medium.instances_type.__name__)}}
    answered = _answer("One prediction an input, in order.", endpoint.answer_type.__name__)
    if endpoint.render is not None:
        answered["content"]["image/png"] = binary
    return {
        "parameters": _parameters(Selection) + _parameters(endpoint.options_type),
        "requestBody": {"required": True, "content": bodies},
        "responses": {
            "200": answered,
            **_failures("Error"),
            "415": _answer("A content type that is not read.", "Error"),
        },
    }


def described(body: type[msgspec.Struct], answer: type[msgspec.Struct], error: type[msgspec.Struct]) -> dict[str, Any]:
    """The OpenAPI operation of a route that reads and writes JSON alone; `components` must be given its types."""
    content = {"application/json": {"schema": {"$ref": REF.format(name=body.__name__)}}}
    return {
        "requestBody": {"required": True, "content": content},
        "responses": {"200": _answer(answer.__doc__ or "", answer.__name__), **_failures(error.__name__)},
    }


def components(*others: type[msgspec.Struct]) -> dict[str, Any]:
    """Schemas of every body that the endpoints' operations refer to, and of others."""
    types: list[Any] = [Error, *others]
    for endpoint in ENDPOINTS.values():
        types += [endpoint.medium.instances_type, endpoint.answer_type]
    return msgspec.json.schema_components(types, ref_template=REF)[1]


def _failures(error: str) -> dict[str, Any]:
    return {
        "400": _answer("The input or a parameter cannot be read.", error),
        "401": _answer("An API key is asked for, and none or an unknown one came.", error),
        "404": _answer("No such model or version.", error),
        "408": _answer("The body did not arrive in time.", error),
        "413": _answer("Over a limit: bytes, pixels or inputs a request.", error),
        "503": _answer("The model does not answer now, or its queue is full (then with Retry-After).", error),
        "504": _answer("The time that the request may take was over before it was computed.", error),
    }


def _answer(description: str, schema: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": REF.format(name=schema)}}},
    }


def _parameters(struct: type[msgspec.Struct]) -> list[dict[str, Any]]:
    schema = msgspec.json.schema(struct)["$defs"][struct.__name__]["properties"]
    return [{"name": name, "in": "query", "required": False, "schema": field} for name, field in schema.items()]
