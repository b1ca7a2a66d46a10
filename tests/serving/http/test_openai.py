"""OpenAI's own client, unmodified, against a real server process; and what goes over the wire byte by byte."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

openai = pytest.importorskip("openai", reason="the client belongs to the dev extra")

from bundle.store import open_bundle  # noqa: E402
from runtime.predictor import load_predictor  # noqa: E402
from tests.builders import write_fake_bundle  # noqa: E402
from tests.serving.embedder import DIM, MAX_TOKENS, write_fake_embedder  # noqa: E402
from tests.serving.running import MAX_INSTANCES, SMALL_LIMITS, Server, running  # noqa: E402

PATH = "/v1/embeddings"
TEXTS = ["good film", "bad", "안녕하세요 🙂 good", "good " * 50]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model that embeds, among one that classifies."""
    folder = tmp_path_factory.mktemp("models")
    write_fake_bundle(folder, "pictures")
    write_fake_embedder(folder)
    return folder


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(repository, tmp_path_factory.mktemp("server"), *SMALL_LIMITS) as server:
        server.wait_for_status("/v2/health/ready", 200)
        yield server


@pytest.fixture
def client(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """As its documentation says to make it for another server; no proxy of this machine's stands between."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none is needed", max_retries=0) as client:
        yield client


@pytest.fixture
def expected(repository: Path) -> Any:
    """The answers of a Predictor in this process."""
    predictor = load_predictor(open_bundle(repository / "embedder" / "1"))
    return lambda texts: predictor.predict([text.encode() for text in texts])


def post(server: Server, **body: Any) -> httpx.Response:
    return server.client.post(PATH, json=body)


def test_the_client_gets_the_vectors_of_a_predictor_here(client: Any, expected: Any) -> None:
    answer = client.embeddings.create(model="embedder", input=TEXTS)
    assert (answer.object, answer.model, [one.index for one in answer.data]) == ("list", "embedder", [0, 1, 2, 3])
    for one, want in zip(answer.data, expected(TEXTS), strict=True):
        assert one.object == "embedding"
        np.testing.assert_allclose(one.embedding, want.embedding, rtol=1e-6)
        assert one.truncated is want.truncated


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
def test_both_encodings_hold_the_same_numbers(server: Server, expected: Any, encoding_format: str) -> None:
    answer = post(server, model="embedder", input="good film", encoding_format=encoding_format).json()
    given = answer["data"][0]["embedding"]
    vector = np.frombuffer(base64.b64decode(given), "<f4") if encoding_format == "base64" else np.array(given, "f4")
    assert vector.shape == (DIM,)
    np.testing.assert_array_equal(vector, np.array(expected(["good film"])[0].embedding, "f4"))


def test_without_an_encoding_the_numbers_are_numbers(server: Server) -> None:
    answer = post(server, model="embedder", input="good film").json()
    assert isinstance(answer["data"][0]["embedding"][0], float)


def test_the_answer_has_exactly_openais_shape_and_one_key_more(server: Server) -> None:
    answer = post(server, model="embedder", input="good film").json()
    assert answer.keys() == {"object", "data", "model", "usage"}
    assert answer["data"][0].keys() == {"object", "index", "embedding", "truncated"}


def test_usage_counts_the_tokens_that_were_read(client: Any) -> None:
    usage = client.embeddings.create(model="embedder", input=["good film", "bad", "good " * 50]).usage
    assert usage.prompt_tokens == usage.total_tokens == 2 + 1 + MAX_TOKENS


def test_a_text_alone_and_among_others_has_the_same_vector(client: Any) -> None:
    alone = client.embeddings.create(model="embedder", input="good film").data[0].embedding
    among = client.embeddings.create(model="embedder", input=["bad film", "good film"]).data[1].embedding
    np.testing.assert_array_equal(alone, among)


def test_the_own_endpoint_gives_the_same_vectors(server: Server) -> None:
    own = server.client.post("/v1/text/embed", json={"instances": TEXTS}).json()["predictions"]
    theirs = post(server, model="embedder", input=TEXTS).json()["data"]
    assert [one["embedding"] for one in own] == [one["embedding"] for one in theirs]
    assert [one["truncated"] for one in own] == [False, False, False, True]


def test_dimensions_and_a_user_may_be_given(client: Any) -> None:
    answer = client.embeddings.create(model="embedder", input="good", dimensions=DIM, user="somebody")
    assert len(answer.data[0].embedding) == DIM


def test_other_dimensions_are_refused_with_those_there_are(client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match=f"dimensions is 2; model 'embedder' gives {DIM}"):
        client.embeddings.create(model="embedder", input="good", dimensions=2)


@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1, 2], [3]], ["good", 3]])
def test_token_ids_are_refused(client: Any, tokens: Any) -> None:
    with pytest.raises(openai.BadRequestError, match=r"token ids.*Send texts as strings"):
        client.embeddings.create(model="embedder", input=tokens)


@pytest.mark.parametrize(
    ("given", "told"),
    [("", "empty"), (["good", " \n"], "instance 1: the text is empty"), ([], "no inputs")],
)
def test_nothing_to_embed_is_refused(client: Any, given: Any, told: str) -> None:
    with pytest.raises(openai.BadRequestError, match=told):
        client.embeddings.create(model="embedder", input=given)


def test_an_unknown_model_is_not_found_and_the_others_are_named(client: Any) -> None:
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'; there are embedder, pictures") as caught:
        client.embeddings.create(model="gpt", input="good")
    assert (caught.value.code, caught.value.type) == ("model_not_found", "invalid_request_error")


def test_a_model_for_something_else_is_not_found(client: Any) -> None:
    with pytest.raises(openai.NotFoundError, match="'pictures' is for image-classification, not for sentence-embed"):
        client.embeddings.create(model="pictures", input="good")


def test_more_texts_than_the_limit_are_refused_with_both_numbers(client: Any) -> None:
    client.embeddings.create(model="embedder", input=["good"] * MAX_INSTANCES)
    with pytest.raises(openai.APIStatusError, match=f"{MAX_INSTANCES + 1} inputs; at most {MAX_INSTANCES}") as caught:
        client.embeddings.create(model="embedder", input=["good"] * (MAX_INSTANCES + 1))
    assert caught.value.status_code == 413


def test_a_body_over_the_limit_is_refused(client: Any) -> None:
    with pytest.raises(openai.APIStatusError, match="bytes; at most") as caught:
        client.embeddings.create(model="embedder", input="x" * 2_000_000)
    assert caught.value.status_code == 413


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "the body is not"),
        (b"{", "the body is not"),
        (b"[]", "Expected `object`"),
        (b'{"input": "good"}', "missing required field `model`"),
        (b'{"model": "embedder"}', "missing required field `input`"),
        (b'{"model": "embedder", "input": 3}', "`$.input`"),
        (b'{"model": "embedder", "input": {"a": 1}}', "`$.input`"),
        (b'{"model": "embedder", "input": "good", "encoding_format": "hex"}', "encoding_format"),
        (b'{"model": "embedder", "input": "good", "dimensions": 0}', "dimensions"),
        (b'{"model": "embedder", "input": "good", "colour": 1}', "colour"),
        (b'{"model": "embedder", "input": "\xff"}', "the body is not"),
        (b"[" * 100_000, "the body is not"),
    ],
)
def test_a_body_of_another_form_is_refused_in_openais_shape(server: Server, body: bytes, told: str) -> None:
    response = server.client.post(PATH, content=body)
    assert response.status_code == 400, response.text
    assert response.json().keys() == {"error"}
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "code", "param"}
    assert told in error["message"]
    assert error["code"] == "bad_input"


def test_the_client_lists_the_models_that_it_can_ask(client: Any) -> None:
    listed = client.models.list()
    assert [(one.id, one.object, one.owned_by) for one in listed] == [("embedder", "model", "modelyard")]


def test_our_own_list_stands_beside_it(server: Server) -> None:
    listed = server.client.get("/v1/models").json()
    assert [one["name"] for one in listed["models"]] == ["embedder", "pictures"]
    assert listed["object"] == "list"


def test_requests_and_texts_are_counted(server: Server) -> None:
    post(server, model="embedder", input="good")
    figures = server.client.get("/metrics").text
    assert 'modelyard_requests_total{code="200",route="/v1/embeddings"}' in figures
    assert 'modelyard_instances_total{model="embedder"}' in figures


def test_the_route_is_described(server: Server) -> None:
    document = server.client.get("/openapi.json").json()
    operation = document["paths"][PATH]["post"]
    schemas = document["components"]["schemas"]
    assert schemas["EmbeddingsRequest"]["required"] == ["model", "input"]
    for answer in operation["responses"].values():
        reference = answer["content"]["application/json"]["schema"]["$ref"]
        assert reference.rpartition("/")[2] in schemas
