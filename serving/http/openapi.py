"""What /docs and /openapi.json say of the endpoints, made from the types that they really read and write.

Knows endpoints' types and the OpenAPI form. Knows nothing of how requests are answered.
"""

from typing import Any

import msgspec
from fastapi import FastAPI

from serving.endpoints import ENDPOINTS, Endpoint
from serving.endpoints.endpoint import Selection
from serving.http import openai
from serving.http.inputs import ANY_BYTES
from serving.oip.description import DESCRIBED, infer_paths
from serving.security.access import METRICS, PROBES

REF = "#/components/schemas/{name}"

FAILURES = {
    "400": "The input or a parameter cannot be read.",
    "401": "An API key is asked for, and none or an unknown one came.",
    "404": "No such model or version.",
    "408": "The body did not arrive in time.",
    "413": "Over a limit: bytes, pixels or inputs a request.",
    "503": "The model does not answer now, or its queue is full (then with Retry-After).",
    "504": "The time that the request may take was over before it was computed.",
}
"""How a request for a prediction can fail."""

KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
"""Either does, where the service asks for keys at all."""

ADMINS = ("/load", "/unload", "/rollback", "/promote", "/canary")
EMPTY = ("/load", "/unload")
"""What the protocol answers with an empty body."""
EXPOSITIONS = ("text/plain", "application/openmetrics-text")


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
        paths |= infer_paths(REF)
        parts = schema.setdefault("components", {})
        parts.setdefault("schemas", {}).update(components(*described_types, *DESCRIBED))
        parts["securitySchemes"] = KEYS
        _complete(paths)
        return schema

    app.openapi = whole  # type: ignore[method-assign]


def _complete(paths: dict[str, Any]) -> None:
    """What holds for every operation, and the framework does not know of: keys, and how a request can fail."""
    for path, operations in paths.items():
        for method, operation in operations.items():
            answers: dict[str, Any] = operation["responses"]
            answers.pop("422", None)  # the framework's own; here it is answered with 400
            if path.endswith(EMPTY):
                answers["200"].pop("content", None)
            for status, description in _ways_to_fail(path, method).items():
                if status not in answers:
                    answers[status] = _answer(description, "Error")
            if path not in PROBES:
                operation["security"] = [{}, *({name: []} for name in KEYS)]
    text = {"schema": {"type": "string"}}
    paths[METRICS]["get"]["responses"]["200"]["content"] = dict.fromkeys(EXPOSITIONS, text)


def _ways_to_fail(path: str, method: str) -> dict[str, str]:
    ways = {"503": "Not ready, or not live; the error says why."} if path in PROBES else {}
    if path not in PROBES:
        ways["401"] = FAILURES["401"]
    if "{" in path:
        ways |= {status: FAILURES[status] for status in ("400", "404", "503")}
    if path.endswith(ADMINS):
        ways["403"] = "No admin key is set, or the key may only ask."
        ways["500"] = "A model that should come up broke its engine."
    if method == "post":
        ways |= {status: FAILURES[status] for status in ("400", "408", "413")}
    return ways


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
    return {status: _answer(description, error) for status, description in FAILURES.items()}


def _answer(description: str, schema: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": REF.format(name=schema)}}},
    }


def _parameters(struct: type[msgspec.Struct]) -> list[dict[str, Any]]:
    schema = msgspec.json.schema(struct)["$defs"][struct.__name__]["properties"]
    return [{"name": name, "in": "query", "required": False, "schema": field} for name, field in schema.items()]
