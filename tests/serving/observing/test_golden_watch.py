"""Golden inferences while a model runs: what is wrong with the device shows in readiness, then in liveness."""

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest

from bundle.errors import OutOfMemory, RuntimeFailed
from bundle.store import Bundle
from bundle.tensors import Tensors
from serving.observing.golden_watch import GoldenWatch
from serving.repository.model_settings import ModelSettings
from serving.repository.served import ServedModel, Serving
from tests.serving.repositories import TASK, Kept, ask, kept, publish

pytestmark = pytest.mark.anyio

LIMIT_S = 0.1


class Device:
    """Stands between the queue and the engine of every model, and breaks when told to."""

    def __init__(self) -> None:
        self.spoil = "nothing"
        self.capacity = 1000
        self.awake = threading.Event()
        self.awake.set()

    def serve(self, bundle: Bundle, settings: ModelSettings, serving: Serving) -> ServedModel:
        served = ServedModel(bundle, settings, serving)
        engine = served.predictor.runtime
        sound = engine.run

        def run(batch: Tensors) -> Tensors:
            assert self.awake.wait(30), "a test that failed while it held this up"
            outputs = sound(batch)
            if len(next(iter(batch.values()))) > self.capacity:
                raise OutOfMemory("it does not fit")
            if self.spoil == "raises":
                raise RuntimeFailed("the context is gone")
            if self.spoil == "swaps":
                return {name: array[..., ::-1].copy() for name, array in outputs.items()}
            if self.spoil == "nan":
                return {name: np.full_like(array, np.nan) for name, array in outputs.items()}
            return outputs

        engine.run = run  # type: ignore[method-assign]
        return served


def watch(every_s: float = 0.02, failures_to_die: int = 3) -> GoldenWatch:
    return GoldenWatch(every_s, LIMIT_S, failures_to_die)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        ("raises", "a golden inference failed: RuntimeFailed: the context is gone"),
        ("swaps", "'scores' off by 0."),
        ("nan", "'scores' off by inf"),
    ],
)
async def test_a_wrong_answer_makes_it_not_ready_then_not_live_and_a_right_one_heals(
    tmp_path: Path, spoil: str, told: str
) -> None:
    publish(tmp_path)
    device = Device()
    async with kept(tmp_path, golden=watch(), serve=device.serve) as here:
        assert here.models.not_ready_because() == here.models.not_live_because() == ""
        device.spoil = spoil
        await here.until(lambda: told in here.models.not_ready_because())
        assert here.models.not_ready_because().startswith("model 'fake' version 1: ")
        await here.until(lambda: "times in a row" in here.models.not_live_because())
        device.spoil = "nothing"
        await here.until(lambda: here.models.not_ready_because() == here.models.not_live_because() == "")


async def test_a_hang_makes_it_not_ready_then_not_live_and_its_end_heals(tmp_path: Path) -> None:
    publish(tmp_path)
    device = Device()
    async with kept(tmp_path, golden=watch(), serve=device.serve) as here:
        device.awake.clear()
        await here.until(lambda: "not answered after 0.1 s" in here.models.not_ready_because())
        await here.until(lambda: "(3 times in a row)" in here.models.not_live_because())
        batcher = here.models.find(TASK, None, None).batcher
        assert batcher.in_flight == 1, "a hang is waited for, not asked again"
        device.awake.set()
        await here.until(lambda: here.models.not_ready_because() == here.models.not_live_because() == "")


async def test_one_thread_that_hangs_is_found_though_others_answer(tmp_path: Path) -> None:
    publish(tmp_path)
    async with kept(tmp_path, golden=watch(every_s=1000)) as here:
        served = here.models.find(TASK, None, None)
        engine = served.predictor.runtime
        sound, release, golden = engine.run, threading.Event(), threading.Event()
        golden.set()

        def run(batch: Tensors) -> Tensors:
            if golden.is_set():
                golden.clear()
                assert release.wait(30)
            return sound(batch)

        engine.run = run  # type: ignore[method-assign]
        looking = asyncio.create_task(look(here))
        await here.until(lambda: not golden.is_set())
        try:
            async with asyncio.timeout(10):
                while not looking.done():
                    await ask(served)
                    await asyncio.sleep(0.01)
        finally:
            release.set()
        assert "though other requests are" in here.models.not_ready_because()


async def test_waiting_in_a_queue_that_moves_is_no_hang(tmp_path: Path) -> None:
    publish(tmp_path)
    async with kept(tmp_path, golden=watch(every_s=1000)) as here:
        served = here.models.find(TASK, None, None)
        engine = served.predictor.runtime
        sound = engine.run

        def run(batch: Tensors) -> Tensors:
            threading.Event().wait(LIMIT_S / 2)
            return sound(batch)

        engine.run = run  # type: ignore[method-assign]
        queued = [asyncio.create_task(ask(served)) for _ in range(served.policy.max_queue)]
        await asyncio.sleep(0)
        assert served.batcher.queue_depth > 100
        await look(here)
        assert here.models.not_ready_because() == ""
        assert served.batcher.queue_depth, "it went before all that waited"
        for task in queued:
            task.cancel()
        await asyncio.gather(*queued, return_exceptions=True)


async def test_a_full_queue_that_does_not_move_is_a_hang(tmp_path: Path) -> None:
    publish(tmp_path)
    device = Device()
    async with kept(tmp_path, golden=watch(every_s=1000), serve=device.serve) as here:
        served = here.models.find(TASK, None, None)
        device.awake.clear()
        queued = [asyncio.create_task(ask(served)) for _ in range(served.policy.max_queue + 8)]
        await asyncio.sleep(0)
        await look(here)
        assert "no other request is either" in here.models.not_ready_because()
        device.awake.set()
        await asyncio.gather(*queued, return_exceptions=True)
        await look(here)
        assert here.models.not_ready_because() == ""


async def test_short_memory_is_no_wrong_answer_as_long_as_one_input_fits(tmp_path: Path) -> None:
    publish(tmp_path)
    device = Device()
    async with kept(tmp_path, golden=watch(every_s=1000), serve=device.serve) as here:
        served = here.models.find(TASK, None, None)
        device.awake.clear()
        asked = [asyncio.create_task(ask(served)) for _ in range(10)]
        await asyncio.sleep(0)
        looking = asyncio.create_task(look(here))
        await here.until(lambda: served.batcher.queue_depth >= 8)
        device.capacity = 1
        device.awake.set()
        await looking
        await asyncio.gather(*asked, return_exceptions=True)
        assert here.models.not_ready_because() == ""
        assert served.batcher.shortage.largest < served.policy.largest


async def test_memory_that_does_not_hold_one_input_makes_it_not_ready_and_its_return_heals(tmp_path: Path) -> None:
    publish(tmp_path)
    device = Device()
    async with kept(tmp_path, golden=watch(every_s=1000), serve=device.serve) as here:
        device.capacity = 0
        await look(here)
        assert "a golden inference failed: Overloaded: the memory of the device is short" in (
            here.models.not_ready_because()
        )
        device.capacity = 1000
        await look(here)
        assert here.models.not_ready_because() == ""


async def test_a_version_that_went_takes_its_faults_along(tmp_path: Path) -> None:
    publish(tmp_path)
    device = Device()
    async with kept(tmp_path, golden=watch(), serve=device.serve) as here:
        device.spoil = "raises"
        await here.until(lambda: here.models.not_live_because() != "")
        device.spoil = "nothing"
        publish(tmp_path)
        await here.models.load("fake")
        assert here.models.not_ready_because() == here.models.not_live_because() == ""


async def test_golden_failures_are_counted(tmp_path: Path) -> None:
    publish(tmp_path)
    device = Device()
    counted: list[int] = []
    async with kept(tmp_path, golden=watch(every_s=1000), serve=device.serve) as here:
        here.models.find(TASK, None, None).metrics.golden_failure = lambda: counted.append(1)  # type: ignore[method-assign]
        device.spoil = "raises"
        await look(here)
        await look(here)
        assert len(counted) == 2


async def look(here: Kept) -> None:
    """Ask the only model its golden sample now."""
    (proven,) = here.models._answering()
    await watch(every_s=1000).look(proven)
