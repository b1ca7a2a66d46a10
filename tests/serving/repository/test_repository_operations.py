"""What operators do to a repository: load, unload, roll back, promote; and what their callers are told."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bundle.errors import ModelNotFound, ModelNotReady
from bundle.store import Bundle
from serving.repository.model_settings import ModelSettings
from serving.repository.served import ServedModel, Serving
from tests.serving.repositories import POLL_S, TASK, Kept, ask, damage, kept, publish, write_settings
from tests.serving.tampering import TAMPERINGS

pytestmark = pytest.mark.anyio


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Kept]:
    """Versions 1 and 2 of 'fake', looked at all the time."""
    publish(tmp_path)
    publish(tmp_path, ("red", "green", "blue"))
    async with kept(tmp_path, POLL_S) as here:
        yield here


async def test_unload_takes_a_model_away_until_it_is_loaded(tmp_path: Path, here: Kept) -> None:
    await here.models.unload("fake")
    assert here.states() == {2: "unloaded"}
    assert here.counted.ready == {("fake", 2): False}
    with pytest.raises(ModelNotReady, match="unloaded; load it to have it back"):
        here.models.find(TASK, "fake", None)
    publish(tmp_path)
    await here.a_few_looks()
    assert here.states() == {2: "unloaded"}, "polling leaves an unloaded model alone"
    await here.models.load("fake")
    assert here.version() == 3


async def test_without_any_model_that_answers_a_service_is_not_ready(here: Kept) -> None:
    await here.models.unload("fake")
    assert "fake: unloaded" in here.models.not_ready_because()


async def test_unload_answers_what_was_accepted(here: Kept) -> None:
    served = here.models.find(TASK, None, None)
    asked = [asyncio.create_task(ask(served)) for _ in range(50)]
    await asyncio.sleep(0)
    await here.models.unload("fake")
    assert {(await one).label for one in asked} <= {"red", "green", "blue"}


async def test_unload_lets_go_of_the_engine_without_waiting_for_the_garbage_collector(here: Kept) -> None:
    served = here.models.find(TASK, None, None)
    await ask(served)
    engine, batcher = weakref.ref(served.predictor.runtime), weakref.ref(served.batcher)
    del served
    gc.disable()
    try:
        await here.models.unload("fake")
        await asyncio.sleep(0)
        assert engine() is None
        assert batcher() is None
    finally:
        gc.enable()


async def test_a_load_that_fails_lets_go_of_its_engine_too(tmp_path: Path) -> None:
    built: list[Callable[[], object]] = []

    def serve(bundle: Bundle, settings: ModelSettings, serving: Serving) -> ServedModel:
        served = ServedModel(bundle, settings, serving)
        built.append(weakref.ref(served.predictor.runtime))
        return served

    publish(tmp_path)
    async with kept(tmp_path, serve=serve) as here:
        TAMPERINGS["answer"].damage(publish(tmp_path))
        gc.disable()
        try:
            with pytest.raises(ModelNotReady, match="the answer differs"):
                await here.models.load("fake")
            await here.until(lambda: [engine() is None for engine in built] == [False, True])
        finally:
            gc.enable()


async def test_a_model_that_is_not_known_cannot_be_unloaded(here: Kept) -> None:
    with pytest.raises(ModelNotFound, match="no model 'other'; there are fake"):
        await here.models.unload("other")


async def test_load_serves_a_model_anew_even_where_nothing_changed(here: Kept) -> None:
    old = here.models.find(TASK, None, None)
    await here.models.load("fake")
    assert here.models.find(TASK, None, None) is not old
    assert here.states() == {2: "ready"}


async def test_load_finds_a_new_model_and_a_new_version_without_polling(tmp_path: Path) -> None:
    publish(tmp_path)
    async with kept(tmp_path) as here:
        publish(tmp_path)
        await here.models.load("fake")
        assert here.version() == 2
        publish(tmp_path, name="other")
        await here.models.load("other")
        assert here.version("other") == 1


@pytest.mark.parametrize("name", ["other", "../fake", "fake/2", "..", ".", "", " ", "fake\0", "a" * 300, "\ud800"])
async def test_a_model_that_is_not_there_cannot_be_loaded(here: Kept, name: str) -> None:
    with pytest.raises(ModelNotFound, match=r"^failed to load"):
        await here.models.load(name)
    assert {model.name for model in here.models.models} == {"fake"}


async def test_a_load_that_fails_says_why_and_what_still_answers(tmp_path: Path, here: Kept) -> None:
    repair = damage(publish(tmp_path))
    with pytest.raises(ModelNotReady, match=r"^failed to load 'fake': .*sha256.*; version 2 still answers$"):
        await here.models.load("fake")
    assert here.version() == 2
    repair()
    await here.models.load("fake")
    assert here.version() == 3


async def test_a_load_of_a_model_without_versions_says_so(tmp_path: Path, here: Kept) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotReady, match=r"^failed to load 'empty': .*holds no version"):
        await here.models.load("empty")


async def test_rollback_serves_the_version_before_and_polling_lets_it(tmp_path: Path, here: Kept) -> None:
    assert await here.models.rollback("fake") == 1
    assert (await ask(here.models.find(TASK, None, None))).label in ("cat", "dog", "owl")
    (tmp_path / "fake" / "2" / "model.fake.json").touch()
    await here.a_few_looks()
    assert here.states() == {1: "ready", 2: "unloaded"}
    assert here.state(2).reason == "replaced by version 1"


async def test_a_newer_version_ends_a_rollback(tmp_path: Path, here: Kept) -> None:
    await here.models.rollback("fake")
    publish(tmp_path)
    await here.until(lambda: here.version() == 3)


async def test_a_newer_version_that_is_bad_does_not_end_a_rollback(tmp_path: Path, here: Kept) -> None:
    await here.models.rollback("fake")
    damage(publish(tmp_path))
    await here.until(lambda: here.states().get(3) == "refused")
    assert here.version() == 1


async def test_load_ends_a_rollback(here: Kept) -> None:
    await here.models.rollback("fake")
    await here.models.load("fake")
    assert here.version() == 2


async def test_rollback_passes_over_a_bad_version(tmp_path: Path, here: Kept) -> None:
    publish(tmp_path)
    await here.until(lambda: here.version() == 3)
    damage(tmp_path / "fake" / "2")
    assert await here.models.rollback("fake") == 1


async def test_rolling_back_twice_goes_back_two_versions(tmp_path: Path, here: Kept) -> None:
    publish(tmp_path)
    await here.until(lambda: here.version() == 3)
    assert await here.models.rollback("fake") == 2
    assert await here.models.rollback("fake") == 1
    with pytest.raises(ModelNotFound, match="there is no version before 1"):
        await here.models.rollback("fake")
    assert here.version() == 1


async def test_a_rollback_to_a_bad_version_changes_nothing_and_says_why(tmp_path: Path, here: Kept) -> None:
    damage(tmp_path / "fake" / "1")
    with pytest.raises(ModelNotReady, match=r"^failed to roll back 'fake': version 1: .*; version 2 still answers$"):
        await here.models.rollback("fake")
    await here.a_few_looks()
    assert here.version() == 2


async def test_rollback_stays_among_the_versions_that_are_named(tmp_path: Path) -> None:
    write_settings(tmp_path, "version_policy = {specific = [1, 3]}")
    for _ in range(3):
        publish(tmp_path)
    async with kept(tmp_path, POLL_S) as here:
        assert await here.models.rollback("fake") == 1
        await here.a_few_looks()
        assert here.states()[1] == "ready"
        assert here.version() == 1


async def test_an_unloaded_model_cannot_be_rolled_back(here: Kept) -> None:
    await here.models.unload("fake")
    with pytest.raises(ModelNotReady, match="does not answer; load it instead"):
        await here.models.rollback("fake")


async def test_operations_on_one_model_take_turns(here: Kept) -> None:
    await asyncio.gather(*(operation("fake") for operation in [here.models.load, here.models.unload] * 3))
    await here.models.load("fake")
    await here.until(lambda: here.states() == {2: "ready"})


async def test_loading_one_model_never_holds_up_requests_to_another(tmp_path: Path) -> None:
    publish(tmp_path, name="quick")
    publish(tmp_path, name="slow")
    going_on = asyncio.Event()
    blocked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def serve(bundle: Bundle, settings: ModelSettings, serving: Serving) -> ServedModel:
        if bundle.manifest.name == "slow" and bundle.manifest.version == 2:
            loop.call_soon_threadsafe(blocked.set)
            asyncio.run_coroutine_threadsafe(going_on.wait(), loop).result()
        return ServedModel(bundle, settings, serving)

    async with kept(tmp_path, POLL_S, serve=serve) as here:
        publish(tmp_path, name="slow")
        await asyncio.wait_for(blocked.wait(), 10)
        for _ in range(20):
            await ask(here.models.find(TASK, "quick", None))
            await ask(here.models.find(TASK, "slow", None))
        assert here.states("slow") == {1: "ready", 2: "loading"}
        going_on.set()
        await here.until(lambda: here.version("slow") == 2)
