import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bundle.preprocess.image import FORMATS
from serving.endpoints import ENDPOINTS
from serving.errors import STATUS
from tests.builders import png
from tests.serving.wire import instances

CLASSIFY = "/v1/classify"


@pytest.fixture
def document(client: httpx.Client) -> dict[str, Any]:
    response = client.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    return dict(response.json())


@pytest.fixture
def classify(document: dict[str, Any]) -> dict[str, Any]:
    return dict(document["paths"][CLASSIFY]["post"])


def references(node: object) -> Iterator[str]:
    """Every $ref below a node."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    if isinstance(node, dict) and "$ref" in node:
        yield node["$ref"]
    for child in children:
        yield from references(child)


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A schema, or what it refers to."""
    for key in schema.get("$ref", "#").split("/")[1:]:
        document = document[key]
    return document if "$ref" in schema else schema


def fits(document: dict[str, Any], schema: dict[str, Any], value: object) -> bool:
    """Whether a JSON value has exactly the form of a schema, as far as our schemas go."""
    schema = resolved(document, schema)
    kinds: dict[str, type | tuple[type, ...]] = {"string": str, "integer": int, "number": (int, float)}
    if schema["type"] == "object":
        assert isinstance(value, dict)
        properties = schema["properties"]
        required = set(schema["required"])
        return required <= value.keys() <= properties.keys() and all(
            fits(document, properties[name], inner) for name, inner in value.items()
        )
    if schema["type"] == "array":
        return isinstance(value, list) and all(fits(document, schema["items"], inner) for inner in value)
    return isinstance(value, kinds[schema["type"]])


def body_schema(answers: dict[str, Any], status: int) -> dict[str, Any]:
    return dict(answers["responses"][str(status)]["content"]["application/json"]["schema"])


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = set(references(document))
    assert found
    for reference in found:
        assert reference.startswith("#/")
        assert resolved(document, {"$ref": reference})


def test_the_document_names_its_version_and_the_product(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.")
    assert document["info"]["title"] == "Modelyard"
    assert document["info"]["version"]


def test_every_endpoint_of_the_table_is_described(document: dict[str, Any]) -> None:
    for endpoint in ENDPOINTS.values():
        assert document["paths"][endpoint.path]["post"]["summary"] == endpoint.summary


def test_every_operation_has_an_id_of_its_own_and_a_summary(document: dict[str, Any]) -> None:
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    assert all(operation["summary"] for operation in operations)


def test_the_parameters_are_those_that_are_read(classify: dict[str, Any]) -> None:
    assert {parameter["name"]: parameter["in"] for parameter in classify["parameters"]} == {
        "model": "query",
        "version": "query",
        "top_k": "query",
    }
    assert not any(parameter["required"] for parameter in classify["parameters"])


def test_the_least_top_k_is_told(classify: dict[str, Any]) -> None:
    top_k = next(parameter for parameter in classify["parameters"] if parameter["name"] == "top_k")
    whole = next(choice for choice in top_k["schema"]["anyOf"] if choice["type"] == "integer")
    assert whole["minimum"] == 1
    assert whole["description"]


def test_the_bodies_are_those_that_are_read(classify: dict[str, Any]) -> None:
    assert classify["requestBody"]["required"]
    assert classify["requestBody"]["content"].keys() == {
        *FORMATS.values(),
        "application/octet-stream",
        "multipart/form-data",
        "application/json",
    }


def test_the_json_body_is_described_as_it_is_read(document: dict[str, Any], classify: dict[str, Any]) -> None:
    schema = classify["requestBody"]["content"]["application/json"]["schema"]
    assert fits(document, schema, instances([png()]))
    assert not resolved(document, schema).get("additionalProperties", True)


def test_the_answer_is_described_as_it_is_given(
    client: httpx.Client, document: dict[str, Any], classify: dict[str, Any]
) -> None:
    assert fits(document, body_schema(classify, 200), client.post(CLASSIFY, content=png()).json())


NOT_OF_PREDICTIONS = {403, 499, 500, 501}
"""Of admins, never on the wire, unforeseen, and of the other protocol."""


@pytest.mark.parametrize("status", sorted({status for status, _ in STATUS.values()} - NOT_OF_PREDICTIONS))
def test_every_foreseen_error_is_described_in_the_one_shape(
    document: dict[str, Any], classify: dict[str, Any], status: int
) -> None:
    assert fits(document, body_schema(classify, status), {"error": "why", "code": "which"})


def test_an_error_is_described_as_it_is_given(
    client: httpx.Client, document: dict[str, Any], classify: dict[str, Any]
) -> None:
    response = client.post(CLASSIFY, content=b"junk")
    assert fits(document, body_schema(classify, response.status_code), response.json())


def test_a_page_for_people_shows_the_document(client: httpx.Client) -> None:
    response = client.get("/docs")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert "/openapi.json" in response.text


def test_the_docs_page_needs_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/docs").text
    assets = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert assets
    for asset in assets:
        assert client.get(asset).status_code == 200, asset
