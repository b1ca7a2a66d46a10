import asyncio
from pathlib import Path

import pytest

from serving.app import create_app
from serving.endpoints import ENDPOINTS
from serving.repository.slots import ModelState
from serving.settings import Settings
from tests.builders import png, write_fake_bundle
from tests.serving.loading import loading, until_ready
from tests.serving.running import SETTLE_S, started
from tests.serving.wire import error_of, predictions_of

CLASSIFY = "/v1/classify"

pytestmark = pytest.mark.anyio


async def test_every_endpoint_of_the_table_has_its_route(repository: Path) -> None:
    async with started(Settings(repository=repository)) as client:
        for endpoint in ENDPOINTS.values():
            error_of(await client.get(endpoint.path), 405, "method_not_allowed")


async def test_a_request_while_its_model_loads_is_told_so_and_answered_afterwards(tmp_path: Path) -> None:
    async with loading(tmp_path) as (client, model):
        for query in ("", "?model=slow"):
            message = error_of(await client.post(CLASSIFY + query, content=png()), 503, "model_not_ready")
            assert "slow" in message
            assert "load" in message
        await model.let_through()
        await until_ready(client)
        assert len(predictions_of(await client.post(CLASSIFY, content=png()))) == 1


async def test_a_model_answers_while_another_one_still_loads(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path, "quick")
    async with loading(tmp_path) as (client, _):
        assert len(predictions_of(await client.post(CLASSIFY, params={"model": "quick"}, content=png()))) == 1


async def test_the_caller_is_told_of_all_models_once_they_are_decided(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path, "one")
    write_fake_bundle(tmp_path, "two")
    told: asyncio.Queue[list[ModelState]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def tell(models: list[ModelState]) -> None:
        loop.call_soon_threadsafe(told.put_nowait, models)

    app = create_app(Settings(repository=tmp_path), on_loaded=tell)
    async with app.api.router.lifespan_context(app.api):
        models = await asyncio.wait_for(told.get(), SETTLE_S)
    assert [(model.name, model.state) for model in models] == [("one", "ready"), ("two", "ready")]


async def test_two_applications_serve_their_own_repositories(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path / "a", "alpha")
    write_fake_bundle(tmp_path / "b", "beta")
    async with started(Settings(repository=tmp_path / "a")) as a, started(Settings(repository=tmp_path / "b")) as b:
        assert (await a.post(CLASSIFY, content=png())).json()["model"] == "alpha"
        assert (await b.post(CLASSIFY, content=png())).json()["model"] == "beta"


async def test_the_threads_of_the_setting_bound_nothing_but_speed(repository: Path) -> None:
    async with started(Settings(repository=repository, threads=1)) as client:
        responses = await asyncio.gather(*(client.post(CLASSIFY, content=png(seed=seed)) for seed in range(10)))
    assert [len(predictions_of(response)) for response in responses] == [1] * 10
