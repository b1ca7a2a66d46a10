"""No name from a request becomes a path: what lies beside the repository is not even looked at."""

import http.client
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from serving.security.keys import make_key
from tests.builders import png, write_fake_bundle
from tests.serving.running import PATIENCE_S, Server, running
from tests.serving.wire import JSON

ADMIN = make_key("root")
KEY = {"x-api-key": ADMIN.key}
NAMES = (
    "..",
    ".",
    "../outside",
    "..\\outside",
    "fake/../../outside",
    "/outside",
    "//outside",
    "%2e%2e%2foutside",
    "%252e%252e%252foutside",
    "..%2foutside",
    "outside",
    "fake/1",
    "fake/1/golden",
    "fake\0",
    "\0",
    " ",
    "fake ",
    "fake\n",
    "",
    "~",
    "~root",
    "$HOME",
    "CON",
    "\uff0e\uff0e\uff0foutside",
    "a" * 5000,
    "é",
    "file:///etc/passwd",
)
VERSIONS = (
    "..",
    "../1",
    "../../outside/1",
    "1/..",
    "1/../1",
    "-1",
    "1.5",
    "\uff11",
    "99999999999999999999",
    "0x1",
    "1\0",
)


@dataclass(frozen=True)
class Walled:
    """A server whose repository has a good model beside it, and one that it may serve within."""

    server: Server
    outside: Path
    absolute: str


@pytest.fixture(scope="module")
def walled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walled]:
    folder = tmp_path_factory.mktemp("walled")
    write_fake_bundle(folder / "models")
    outside = write_fake_bundle(folder, "outside")
    flags = ("--poll-s=0",)
    environment = {"MODELYARD_ADMIN_KEYS": ADMIN.line}
    with running(folder / "models", folder, *flags, environment=environment) as server:
        server.wait_for_status("/v2/health/ready", 200)
        yield Walled(server, outside, str(folder / "outside"))


@pytest.fixture(autouse=True)
def _nothing_was_read_and_the_server_answers(walled: Walled) -> Iterator[None]:
    files = [path for path in walled.outside.rglob("*") if path.is_file()]
    for file in files:  # older than any change: a read would set the time of access, where the system keeps it
        os.utime(file, (1, 1_000_000_000))
    yield
    assert {file.stat().st_atime for file in files} == {1}
    index = walled.server.client.post("/v2/repository/index").json()
    assert [one["name"] for one in index] == ["fake"]
    assert walled.server.client.post("/v1/classify", content=png()).status_code == 200


def asked(walled: Walled, method: str, target: str) -> tuple[int, str]:
    """Status and text of an answer; the target goes out as it is, where httpx would tidy its dots away."""
    connection = http.client.HTTPConnection(*walled.server.address, timeout=PATIENCE_S)
    connection.putrequest(method, target, skip_accept_encoding=True)
    for name, value in {**KEY, **JSON, "content-length": "0"}.items():
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def refused(status: int, text: str) -> None:
    """Refused as the caller's own mistake."""
    assert status in (400, 404, 405), text


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name)[:30])
def test_a_name_that_is_no_model_is_refused_wherever_it_is_given(walled: Walled, name: str) -> None:
    quoted = quote(name, safe="")
    for query in ("", "/config", "/ready", "/versions/1"):
        if name or query == "/config":
            refused(*asked(walled, "GET", f"/v2/models/{quoted}{query}"))
    refused(*asked(walled, "POST", f"/v2/models/{quoted}/infer"))
    for action in ("load", "unload"):
        refused(*asked(walled, "POST", f"/v2/repository/models/{quoted}/{action}"))
    for action in ("rollback", "promote"):
        refused(*asked(walled, "POST", f"/v1/models/{quoted}/{action}"))
    refused(*asked(walled, "GET", f"/v1/models/{quoted}/canary"))
    client = walled.server.client
    for response in (
        client.post("/v1/classify", params={"model": name}, content=png()),
        client.post("/v1/embeddings", json={"model": name, "input": "x"}),
    ):
        refused(response.status_code, response.text)


def test_an_absolute_path_is_no_name(walled: Walled) -> None:
    status, text = asked(walled, "POST", f"/v2/repository/models/{quote(walled.absolute, safe='')}/load")
    assert status in (400, 404), text
    response = walled.server.client.post("/v1/classify", params={"model": walled.absolute}, content=png())
    assert response.status_code == 404


@pytest.mark.parametrize("version", VERSIONS, ids=repr)
def test_a_version_that_is_no_number_is_refused_wherever_it_is_given(walled: Walled, version: str) -> None:
    quoted = quote(version, safe="")
    for path in (f"/v2/models/fake/versions/{quoted}", f"/v2/models/fake/versions/{quoted}/config"):
        refused(*asked(walled, "GET", path))
    refused(*asked(walled, "POST", f"/v2/models/fake/versions/{quoted}/infer"))
    response = walled.server.client.post("/v1/classify", params={"version": version}, content=png())
    refused(response.status_code, response.text)


def test_a_model_does_not_come_in_a_request(walled: Walled) -> None:
    for parameter in ("config", "file:1/model.onnx", "file:../../x"):
        body = {"parameters": {parameter: "e30="}}
        response = walled.server.client.post("/v2/repository/models/fake/load", json=body, headers=KEY)
        assert response.status_code == 501, response.text


@pytest.mark.parametrize("path", ["/static-offline-docs/", "/static-offline-docs/../", "/static-offline-docs/%2e%2e/"])
def test_the_assets_of_the_documentation_are_all_that_is_served_of_files(walled: Walled, path: str) -> None:
    for target in ("__init__.py", "../fastapi_offline/__init__.py", "..%2fcore.py", "%2e%2e/core.py", "/etc/passwd"):
        assert asked(walled, "GET", f"{path}{target}")[0] in (400, 404, 405)


def test_a_file_name_in_an_upload_goes_nowhere(walled: Walled) -> None:
    before = sorted(walled.outside.parent.parent.rglob("*"))
    for name in ("../../x.png", "/x.png", "..\\x.png", "\0"):
        response = walled.server.client.post("/v1/classify", files={"file": (name, png(), "image/png")})
        assert response.status_code in (200, 400), response.text
    assert sorted(walled.outside.parent.parent.rglob("*")) == before
