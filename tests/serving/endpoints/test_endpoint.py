import httpx
import pytest

from bundle.errors import BadInput
from bundle.tasks.classification import ClassificationOptions
from serving.endpoints.endpoint import Selection, read_query
from tests.builders import png
from tests.serving.running import Server
from tests.serving.wire import error_of

CLASSIFY = "/v1/classify"


def test_a_query_is_split_into_the_model_and_the_options() -> None:
    query = b"model=fake&version=3&top_k=2"
    assert read_query(query, ClassificationOptions) == (Selection("fake", 3), ClassificationOptions(top_k=2))


def test_an_empty_query_leaves_everything_open() -> None:
    assert read_query(b"", ClassificationOptions) == (Selection(), ClassificationOptions())


def test_a_parameter_that_nobody_knows_is_named_beside_the_known_ones() -> None:
    with pytest.raises(BadInput, match="unknown query parameter topk; known are model, version, top_k"):
        read_query(b"topk=3", ClassificationOptions)


@pytest.mark.parametrize("query", ["", "model=fake", "version=1", "model=fake&version=1", "model=fake&top_k=1"])
def test_the_only_model_may_be_named_or_left_out(client: httpx.Client, query: str) -> None:
    answer = client.post(f"{CLASSIFY}?{query}", content=png())
    assert answer.status_code == 200, answer.text
    assert (answer.json()["model"], answer.json()["version"]) == ("fake", 1)


@pytest.mark.usefixtures("still_answers")
@pytest.mark.parametrize("value", ["-1", "0", "abc", "", "1.5", "²", "%00"])
def test_a_top_k_that_is_no_positive_integer_is_refused(client: httpx.Client, value: str) -> None:
    message = error_of(client.post(CLASSIFY, params={"top_k": value}, content=png()), 400, "bad_input")
    assert "top_k" in message
    assert value in message


@pytest.mark.usefixtures("still_answers")
@pytest.mark.parametrize("value", ["abc", "", "1.5", "latest"])
def test_a_version_that_is_no_integer_is_refused(client: httpx.Client, value: str) -> None:
    message = error_of(client.post(CLASSIFY, params={"version": value}, content=png()), 400, "bad_input")
    assert f"version='{value}'" in message


@pytest.mark.usefixtures("still_answers")
@pytest.mark.parametrize("version", [999, 0, -1, 10**30])
def test_a_version_that_is_not_served_is_not_found_and_the_served_one_named(client: httpx.Client, version: int) -> None:
    response = client.post(CLASSIFY, params={"version": version}, content=png())
    message = error_of(response, 404, "model_not_found")
    assert message == f"model 'fake' has no version {version} here; version 1 is served"


@pytest.mark.usefixtures("still_answers")
@pytest.mark.parametrize("name", ["nobody", "", "../fake", "fäke", "x" * 2000])
def test_a_model_that_is_not_there_is_not_found_and_the_others_named(client: httpx.Client, name: str) -> None:
    message = error_of(client.post(CLASSIFY, params={"model": name}, content=png()), 404, "model_not_found")
    assert message == f"no model '{name}'; there are fake"


@pytest.mark.usefixtures("still_answers")
def test_an_unknown_parameter_is_refused(client: httpx.Client) -> None:
    message = error_of(client.post(CLASSIFY, params={"threshold": "0.5"}, content=png()), 400, "bad_input")
    assert message == "unknown query parameter threshold; known are model, version, top_k"


def test_with_several_models_the_name_must_be_given(tampered_server: Server) -> None:
    response = tampered_server.client.post(CLASSIFY, content=png())
    message = error_of(response, 404, "model_not_found")
    assert message == "several models are for image-classification; add ?model= one of alpha, beta"


@pytest.mark.parametrize(("name", "labels"), [("alpha", {"cat", "dog", "owl"}), ("beta", {"red", "green"})])
def test_with_several_models_each_answers_by_its_name(tampered_server: Server, name: str, labels: set[str]) -> None:
    response = tampered_server.client.post(CLASSIFY, params={"model": name}, content=png())
    answer = response.json()
    assert answer["model"] == name
    assert {entry["label"] for entry in answer["predictions"][0]["top_k"]} == labels
