"""Metadata, configuration, readiness, statistics and the repository over HTTP."""

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request

from bundle.errors import Forbidden, ModelNotFound, ModelNotReady, ModelyardError
from serving import errors
from serving.http.inputs import InputLimits
from serving.oip.rest import Admin, repository_router
from tests.serving.oip.bodies import json_input
from tests.serving.oip.test_infer import BEATS, BEATS_INFER, post
from tests.serving.wire import error_of

DURATIONS = {"success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss"}
MODELS = ("pictures", "beats", "embedder")


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_the_server_tells_what_works(oip: httpx.Client, path: str) -> None:
    response = oip.get(path)
    assert response.status_code == 200
    assert not response.history
    told = response.json()
    assert set(told) == {"name", "version", "extensions"}
    assert "binary_tensor_data" in told["extensions"]
    assert "model_repository" not in told["extensions"], "no admin key is set"


@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_a_model_tells_its_tensors_and_configuration(oip: httpx.Client, version: str) -> None:
    told = oip.get(f"/v2/models/beats{version}").json()
    assert set(told) == {"name", "versions", "platform", "inputs", "outputs"}
    assert told["inputs"] == [{"name": "series", "datatype": "FP32", "shape": [-1, 4]}]
    config = oip.get(f"/v2/models/beats{version}/config").json()
    assert config["max_batch_size"] == 4
    assert config["input"][0]["dims"] == [4]


def test_readiness_is_a_status(oip: httpx.Client) -> None:
    assert oip.get("/v2/models/beats/ready").json() == {"name": "beats", "ready": True}
    refused = oip.get("/v2/models/damaged/ready")
    assert refused.status_code == 503
    assert refused.json()["ready"] is False
    assert refused.json()["error"]
    assert oip.get("/v2/models/nobody/ready").status_code == 404


@pytest.mark.parametrize("ending", ["", "/ready", "/config", "/stats"])
@pytest.mark.parametrize("model", ["nobody", "beats/versions/9", "beats/versions/x", "beats/versions/" + "9" * 5000])
def test_an_unknown_model_or_version_is_not_found(oip: httpx.Client, model: str, ending: str) -> None:
    error_of(oip.get(f"/v2/models/{model}{ending}"), 404, "model_not_found")


def stats_of(client: httpx.Client, path: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in client.get(path).json()["model_stats"]}


@pytest.mark.parametrize("path", ["/v2/models/stats", "/v2/models/beats/stats", "/v2/models/beats/versions/1/stats"])
def test_statistics_are_true_integers(oip: httpx.Client, path: str) -> None:
    before = stats_of(oip, path)["beats"]
    for _ in range(3):
        assert post(oip, BEATS_INFER, {"inputs": [json_input("series", BEATS)]}).status_code == 200
    assert post(oip, BEATS_INFER, {"inputs": []}).status_code == 400
    after = stats_of(oip, path)["beats"]
    assert after["inference_count"] - before["inference_count"] == 6
    assert after["execution_count"] - before["execution_count"] == 3
    success = after["inference_stats"]["success"]
    assert success["count"] - before["inference_stats"]["success"]["count"] == 3
    for name in (
        "success",
        "fail",
        "queue",
        "compute_input",
        "compute_infer",
        "compute_output",
        "cache_hit",
        "cache_miss",
    ):
        assert {type(value) for value in after["inference_stats"][name].values()} == {int}
    assert after["version"] == "1"
    assert after["last_inference"] > 0
    assert sum(one["compute_infer"]["count"] for one in after["batch_stats"]) == after["execution_count"]


def test_statistics_of_all_leave_nobody_out(oip: httpx.Client) -> None:
    assert set(stats_of(oip, "/v2/models/stats")) == set(MODELS)


def test_the_index_tells_why_a_model_is_refused(oip: httpx.Client) -> None:
    index = {one["name"]: one for one in oip.post("/v2/repository/index").json()}
    assert index["beats"] == {"name": "beats", "version": "1", "state": "READY", "reason": ""}
    assert index["damaged"]["state"] == "UNAVAILABLE"
    assert index["damaged"]["reason"]
    ready = oip.post("/v2/repository/index", json={"ready": True}).json()
    assert {one["name"] for one in ready} == set(MODELS)
    error_of(oip.post("/v2/repository/index", content=b"["), 400, "bad_input")


@pytest.mark.parametrize("action", ["load", "unload"])
def test_nothing_is_loaded_where_no_admin_key_is_set(oip: httpx.Client, action: str) -> None:
    error_of(oip.post(f"/v2/repository/models/beats/{action}"), 403, "forbidden")
    assert oip.get("/v2/models/beats/ready").status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/systemsharedmemory/status"),
        ("GET", "/v2/cudasharedmemory/status"),
        ("POST", "/v2/systemsharedmemory/region/r/register"),
        ("POST", "/v2/cudasharedmemory/unregister"),
        ("GET", "/v2/trace/setting"),
        ("POST", "/v2/models/beats/trace/setting"),
        ("GET", "/v2/logging"),
        ("POST", "/v2/models/beats/generate"),
        ("POST", "/v2/models/beats/versions/1/generate_stream"),
    ],
)
def test_what_is_not_done_says_so(oip: httpx.Client, method: str, path: str) -> None:
    assert "is no part of this server" in error_of(oip.request(method, path), 501, "unsupported")


class Recorder:
    """Operations that only note what they were asked, or fail."""

    models = ()

    def __init__(self, failure: ModelyardError | None = None) -> None:
        self.asked: list[tuple[str, str]] = []
        self._failure = failure

    async def load(self, name: str) -> None:
        self.asked.append(("load", name))
        if self._failure:
            raise self._failure

    async def unload(self, name: str) -> None:
        self.asked.append(("unload", name))


def ask(operations: Recorder, path: str, **request: Any) -> httpx.Response:
    """One POST to the repository's routes, from somebody whose key is 'right' or not."""

    def require(one: Request) -> None:
        if one.headers.get("x-api-key") != "right":
            raise Forbidden("not you")

    async def send() -> httpx.Response:
        app = FastAPI()
        errors.install(app)
        limits = InputLimits(max_body_bytes=1000, max_body_s=1, max_instances=1)
        app.include_router(repository_router(Admin(True, require, operations), limits))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.post(path, **({"headers": {"x-api-key": "right"}} | request))

    return asyncio.run(send())


@pytest.mark.parametrize("action", ["load", "unload"])
@pytest.mark.parametrize("body", [b"", b"{}", b'{"parameters": {"unload_dependents": false}}'])
def test_an_admin_loads_and_unloads(action: str, body: bytes) -> None:
    operations = Recorder()
    assert ask(operations, f"/v2/repository/models/beats/{action}", content=body).status_code == 200
    assert operations.asked == [(action, "beats")]


@pytest.mark.parametrize("action", ["load", "unload"])
@pytest.mark.parametrize("name", ["%20", "..", "%2e%2e", "a.b", "-", "x" * 65, "a%00", "%2e%2e%5cetc"])
def test_a_name_that_no_model_can_have_is_refused(action: str, name: str) -> None:
    operations = Recorder()
    assert ask(operations, f"/v2/repository/models/{name}/{action}").status_code in (400, 404)
    assert operations.asked == []


@pytest.mark.parametrize("action", ["load", "unload"])
def test_nobody_else_changes_what_is_served(action: str) -> None:
    operations = Recorder()
    error_of(ask(operations, f"/v2/repository/models/beats/{action}", headers={}), 403, "forbidden")
    assert operations.asked == []


@pytest.mark.parametrize("parameters", [{"config": "{}"}, {"file:1/model.onnx": "AAAA"}])
def test_no_model_comes_in_a_request(parameters: dict[str, str]) -> None:
    operations = Recorder()
    message = error_of(
        ask(operations, "/v2/repository/models/b/load", json={"parameters": parameters}), 501, "unsupported"
    )
    assert message.startswith("failed to load 'b'")
    assert operations.asked == []


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (ModelNotFound("no 'b'"), 404, "model_not_found"),
        (ModelNotReady("failed to load 'b': why"), 503, "model_not_ready"),
    ],
)
def test_a_failed_load_begins_with_that(failure: ModelyardError, status: int, code: str) -> None:
    message = error_of(ask(Recorder(failure), "/v2/repository/models/b/load"), status, code)
    assert message.count("failed to load 'b'") == 1
    assert message.startswith("failed to load 'b': ")


@pytest.mark.parametrize("body", [b"[", b"[1]", b'{"parameters": 1}', b"\xff"])
def test_a_body_that_is_none_is_refused(body: bytes) -> None:
    error_of(ask(Recorder(), "/v2/repository/models/b/load", content=body), 400, "bad_input")
