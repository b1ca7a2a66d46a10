"""Who may do what, over real HTTP: with keys, without, and with a key of the wrong kind."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bundle.errors import Forbidden, Unauthenticated
from serving.security.access import Access, Credentials
from serving.security.keys import make_key
from serving.settings import Settings
from tests.builders import png
from tests.serving.running import Server, run_to_the_end, running
from tests.serving.wire import error_of

openai = pytest.importorskip("openai", reason="the client belongs to the dev extra")

ALICE, ADMIN = make_key("alice"), make_key("root")
CLOSED = ("/v1/models", "/v2", "/v2/models/fake", "/nothing/here", "/v1/models/", "//v2/health/live")
OPEN = ("/v2/health/live", "/v2/health/ready", "/metrics", "/docs", "/openapi.json")


@pytest.fixture(scope="module")
def locked(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {"MODELYARD_API_KEYS": ALICE.line, "MODELYARD_ADMIN_KEYS": ADMIN.line}
    with running(repository, tmp_path_factory.mktemp("locked"), environment=environment) as server:
        server.wait_for_status("/v2/health/ready", 200)
        yield server


@pytest.mark.parametrize("path", CLOSED)
def test_without_a_key_nothing_is_told_not_even_what_there_is(locked: Server, path: str) -> None:
    response = locked.client.get(path)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert "Authorization: Bearer <key>" in response.text


@pytest.mark.parametrize("path", OPEN)
def test_probes_figures_and_documentation_need_no_key(locked: Server, path: str) -> None:
    assert locked.client.get(path).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"authorization": f"Bearer {ALICE.key}"}, {"x-api-key": ALICE.key}, {"authorization": f"Bearer {ADMIN.key}"}],
    ids=["bearer", "x-api-key", "admin"],
)
def test_with_a_key_questions_are_answered(locked: Server, headers: dict[str, str]) -> None:
    assert locked.client.post("/v1/classify", content=png(), headers=headers).status_code == 200
    assert locked.client.get("/v1/models", headers=headers).status_code == 200


def test_a_wrong_key_is_refused_before_the_body_is_read(locked: Server) -> None:
    response = locked.client.post("/v1/classify", content=bytes(2**20), headers={"x-api-key": ALICE.line})
    assert "is not known here" in error_of(response, 401, "unauthenticated")


def test_openais_client_sends_its_key_as_it_is_asked_for(locked: Server) -> None:
    with openai.OpenAI(
        base_url=f"{locked.url}/v1", api_key=ALICE.key, http_client=httpx.Client(trust_env=False)
    ) as one:
        assert one.models.list().data == []
    with (
        openai.OpenAI(base_url=f"{locked.url}/v1", api_key="wrong", http_client=httpx.Client(trust_env=False)) as one,
        pytest.raises(openai.AuthenticationError),
    ):
        one.models.list()


def test_keys_are_never_logged(locked: Server) -> None:
    locked.client.get("/v1/models", headers={"x-api-key": ALICE.key})
    locked.client.get("/v1/models", headers={"x-api-key": "my_almost"})
    assert not any(secret in locked.stderr() for secret in (ALICE.key, ADMIN.key, "my_almost"))


def test_figures_can_be_closed_too(repository: Path, tmp_path: Path) -> None:
    environment = {"MODELYARD_API_KEYS": ALICE.line}
    with running(repository, tmp_path, "--metrics-need-key", environment=environment) as server:
        assert server.client.get("/metrics").status_code == 401
        assert server.client.get("/metrics", headers={"x-api-key": ALICE.key}).status_code == 200


def test_a_start_with_broken_keys_is_refused_in_one_line(repository: Path, tmp_path: Path) -> None:
    for workers in ("1", "2"):
        done = run_to_the_end(str(repository), "--port=0", f"--workers={workers}", f"--api-keys-file={tmp_path / 'no'}")
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert str(tmp_path / "no") in done.stderr


def test_without_keys_everybody_may_ask_and_nobody_may_change_anything() -> None:
    access = Access(Settings())
    assert access.require_key(Credentials()) == "anybody"
    with pytest.raises(Forbidden, match="modelyard key") as caught:
        access.require_admin(Credentials(f"Bearer {ADMIN.key}"))
    assert "MODELYARD_ADMIN_KEYS" in str(caught.value)


def test_with_an_admin_key_alone_everybody_may_ask_and_the_admin_may_change_things() -> None:
    access = Access(Settings(admin_keys=ADMIN.line))
    assert access.require_key(Credentials()) == "anybody"
    assert access.require_admin(Credentials(api_key=ADMIN.key)) == "root"
    with pytest.raises(Unauthenticated, match="needs an admin key"):
        access.require_admin(Credentials())


def test_a_key_for_questions_changes_nothing() -> None:
    access = Access(Settings(api_keys=ALICE.line, admin_keys=ADMIN.line))
    with pytest.raises(Forbidden, match="'alice' may ask"):
        access.require_admin(Credentials(f"Bearer {ALICE.key}"))


@pytest.mark.parametrize(
    "path", ["/v2/health/live/", "/V2/HEALTH/LIVE", "/docs/x", "/metrics/", "/static-offline-docs"]
)
def test_only_the_open_paths_themselves_are_open(path: str) -> None:
    assert not Access(Settings(api_keys=ALICE.line)).is_open(path)
