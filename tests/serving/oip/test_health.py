from pathlib import Path

import httpx
import pytest

from serving.app import create_app
from serving.settings import Settings
from tests.builders import write_fake_bundle
from tests.serving.loading import loading, until_ready
from tests.serving.running import Server, started
from tests.serving.tampering import TAMPERINGS

LIVE, READY = "/v2/health/live", "/v2/health/ready"


async def reason_not_ready(client: httpx.AsyncClient) -> str:
    """Why the service is not ready, after checking that it is alive all the same."""
    live, ready = await client.get(LIVE), await client.get(READY)
    assert (live.status_code, live.json()) == (200, {"live": True, "ready": False})
    assert ready.status_code == 503
    assert ready.json().keys() == {"live", "ready", "error"}
    assert (ready.json()["live"], ready.json()["ready"]) == (True, False)
    return str(ready.json()["error"])


def test_a_server_with_a_model_is_live_and_ready(client: httpx.Client) -> None:
    for path in (LIVE, READY):
        assert (client.get(path).status_code, client.get(path).json()) == (200, {"live": True, "ready": True})


def test_a_server_is_ready_when_some_models_are_refused_and_some_answer(tampered_server: Server) -> None:
    assert tampered_server.client.get(READY).json() == {"live": True, "ready": True}


@pytest.mark.anyio
async def test_before_anything_is_read_the_service_is_not_ready(repository: Path) -> None:
    transport = httpx.ASGITransport(create_app(Settings(repository=repository)))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert await reason_not_ready(client) == "the repository has not been read yet"


@pytest.mark.anyio
async def test_while_a_model_loads_the_service_is_not_ready_and_afterwards_it_is(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path, "quick")
    async with loading(tmp_path) as (client, model):
        assert await reason_not_ready(client) == "loading slow"
        await model.let_through()
        await until_ready(client)


@pytest.mark.anyio
async def test_an_empty_repository_is_a_reason_with_the_way_out(tmp_path: Path) -> None:
    async with started(Settings(repository=tmp_path)) as client:
        reason = await reason_not_ready(client)
    assert str(tmp_path) in reason
    assert "modelyard export" in reason


@pytest.mark.anyio
async def test_a_missing_repository_is_a_reason_with_the_way_out(tmp_path: Path) -> None:
    async with started(Settings(repository=tmp_path / "modles")) as client:
        reason = await reason_not_ready(client)
    assert "modles" in reason
    assert "modelyard export" in reason


@pytest.mark.anyio
async def test_if_every_model_is_refused_the_reasons_are_told(tmp_path: Path) -> None:
    for name, tampering in TAMPERINGS.items():
        tampering.damage(write_fake_bundle(tmp_path, name))
    async with started(Settings(repository=tmp_path)) as client:
        reason = await reason_not_ready(client)
    for name, tampering in TAMPERINGS.items():
        assert f"{name}: " in reason
        assert all(word in reason for word in tampering.told)
