"""What is around every answer: headers for browsers, and who may read it in one."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.builders import png
from tests.serving.running import Server, running

ORIGIN = "https://yard.example"
ASKS = {"origin": ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}


@pytest.fixture(scope="module")
def shared_with_a_page(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {"MODELYARD_API_KEYS": f"alice:{'0' * 64}"}  # a page asks first, without a key
    flags = ("--cors-origins", ORIGIN)
    with running(repository, tmp_path_factory.mktemp("cors"), *flags, environment=environment) as server:
        server.wait_for_status("/v2/health/ready", 200)
        yield server


@pytest.mark.parametrize("path", ["/v2/health/live", "/v1/models", "/docs", "/openapi.json", "/nothing", "/metrics"])
def test_every_answer_says_once_that_its_type_is_its_type(client: httpx.Client, path: str) -> None:
    assert client.get(path).headers.get_list("x-content-type-options") == ["nosniff"]
    assert client.post("/v1/classify", content=png()).headers.get_list("x-content-type-options") == ["nosniff"]
    assert client.post("/v1/classify", content=b"?").headers.get_list("x-content-type-options") == ["nosniff"]


def test_answers_do_not_tell_what_serves_them(client: httpx.Client) -> None:
    assert "server" not in client.get("/v1/models").headers


def test_no_page_of_another_origin_may_read_answers_unless_it_is_named(client: httpx.Client) -> None:
    for response in (
        client.get("/v1/models", headers={"origin": ORIGIN}),
        client.post("/v1/classify", content=png(), headers={"origin": ORIGIN}),
        client.options("/v1/classify", headers=ASKS),
    ):
        assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/models", "/v2/models/fake/infer"])
def test_a_page_that_is_named_may_ask_with_a_key(shared_with_a_page: Server, path: str) -> None:
    allowed = shared_with_a_page.client.options(path, headers=ASKS)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert "x-api-key" in allowed.headers["access-control-allow-headers"]
    answer = shared_with_a_page.client.post(path, headers={"origin": ORIGIN})
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-credentials" not in answer.headers


def test_a_page_that_is_not_named_may_not(shared_with_a_page: Server) -> None:
    stranger = ASKS | {"origin": "https://elsewhere.example"}
    refused = shared_with_a_page.client.options("/v1/classify", headers=stranger)
    assert "access-control-allow-origin" not in refused.headers
