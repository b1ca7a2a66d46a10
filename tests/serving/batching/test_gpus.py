"""Several GPUs behind one queue: all are proven, all work, and one that dies is told to whoever starts processes."""

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bundle.errors import DeviceLost
from bundle.store import Bundle
from serving.batching.call import Call
from serving.observing.golden_watch import GoldenWatch
from serving.oip.grpc_health import NOT_SERVING, SERVING, HealthService
from serving.oip.messages import HEALTH_MESSAGES
from serving.settings import Settings
from serving.workers.fleet import Fleet
from serving.workers.shared import Place, Shared
from tests.builders import png
from tests.engine_records import build, write_gpu_bundle
from tests.serving.invented_gpus import Machine, kept_on, only, two_gpus
from tests.serving.repositories import POLL_S, ask
from tests.serving.running import started
from tests.serving.wire import error_of
from tests.serving.workers.test_fleet import FakeRepository

__all__ = ["two_gpus"]
pytestmark = pytest.mark.anyio


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """An engine of 'fake' for the machine's GPUs."""
    bundle = write_gpu_bundle(tmp_path / "models")
    build(bundle, "fp16", ms={1: 1.0, 4: 1.1})
    return bundle


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.002)


# Bringing up


async def test_an_engine_is_loaded_on_every_gpu_as_the_settings_say(bundle: Bundle, two_gpus: Machine) -> None:
    async with kept_on(two_gpus, bundle, gpu_instances=3, gpu_memory_mib=64, gpus="0,1") as here:
        assert [(one.index, one.slots, one.memory_bytes) for one in two_gpus.loaded] == [(0, 3, 2**26), (1, 3, 2**26)]
        assert [one.graph_batches for one in two_gpus.loaded] == [(), ()]
        assert only(here).policy.instances == 6


async def test_graphs_are_captured_for_the_sizes_that_are_warmed(bundle: Bundle, two_gpus: Machine) -> None:
    async with kept_on(two_gpus, bundle, cuda_graphs=True, gpus="0,1") as here:
        assert {one.graph_batches for one in two_gpus.loaded} == {(1, 2, 4)} == {only(here).batch_ladder}


async def test_every_gpu_meets_every_size_of_batch_in_every_slot_before_traffic(
    bundle: Bundle, two_gpus: Machine
) -> None:
    async with kept_on(two_gpus, bundle, gpus="0,1"):
        for gpu in (0, 1):
            for size in (1, 2, 4):
                assert two_gpus.batches.count((gpu, size)) >= 2


@pytest.mark.parametrize("gpu", [0, 1])
async def test_one_gpu_with_wrong_answers_is_enough_to_refuse(bundle: Bundle, two_gpus: Machine, gpu: int) -> None:
    two_gpus.wrong.add(gpu)
    async with kept_on(two_gpus, bundle, gpus="0,1") as here:
        assert here.states() == {1: "refused"}
        assert "golden sample 0" in here.state(1).reason
        assert here.models.not_live_because() == ""


async def test_a_batch_that_memory_does_not_hold_at_the_start_makes_smaller_ones(
    bundle: Bundle, two_gpus: Machine
) -> None:
    two_gpus.capacity[1] = 3
    async with kept_on(two_gpus, bundle, gpus="0,1") as here:
        assert here.states() == {1: "ready"}
        served = only(here)
        assert (served.policy.largest, served.batcher.shortage.largest) == (4, 2)
        assert "at most 2 rows in place of 4" in served.batcher.shortage.remark


async def test_a_model_of_which_not_even_one_row_fits_is_refused(bundle: Bundle, two_gpus: Machine) -> None:
    two_gpus.capacity[0] = 0
    async with kept_on(two_gpus, bundle, gpus="0,1") as here:
        assert here.states() == {1: "refused"}
        assert "do not fit into GPU 0" in here.state(1).reason
        assert here.models.not_live_because() == ""


# One queue


async def test_two_gpus_share_one_queue_and_both_work(bundle: Bundle, two_gpus: Machine) -> None:
    async with kept_on(two_gpus, bundle, gpus="0,1") as here:
        served = only(here)
        two_gpus.batches.clear()
        two_gpus.gate = threading.Event()
        asked = [asyncio.create_task(ask(served, png(seed=seed))) for seed in range(40)]
        await until(lambda: two_gpus.at_work() == [0, 0, 1, 1])
        await asyncio.sleep(0.02)
        assert two_gpus.at_work() == [0, 0, 1, 1], "two batches on each, and no more"
        two_gpus.gate.set()
        answers = await asyncio.gather(*asked)
    assert len(answers) == 40
    assert sum(rows for _, rows in two_gpus.batches) == 40
    assert {gpu for gpu, _ in two_gpus.batches} == {0, 1}


async def test_every_caller_gets_the_answer_that_one_gpu_alone_would_give(bundle: Bundle, two_gpus: Machine) -> None:
    raws = [png(seed=seed) for seed in range(24)]
    async with kept_on(two_gpus, bundle, gpus="0") as here:
        alone = [await ask(only(here), raw) for raw in raws]
    async with kept_on(two_gpus, bundle, gpus="0,1") as here:
        assert await asyncio.gather(*(ask(only(here), raw) for raw in raws)) == alone


async def test_rows_that_wait_are_shared_by_gpus_not_by_slots(bundle: Bundle, two_gpus: Machine) -> None:
    """One batch of four costs a GPU less than two of two."""
    async with kept_on(two_gpus, bundle, gpus="0") as here:
        served = only(here)
        two_gpus.batches.clear()
        raws = [png(seed=seed) for seed in range(4)]
        prepared = [served.predictor.prepare(raw) for raw in raws]
        await served.ask(Call(), prepared, lambda rows, _: len(rows))
    assert two_gpus.batches == [(0, 4)]


async def test_a_gpu_that_is_held_up_leaves_the_work_to_the_other(bundle: Bundle, two_gpus: Machine) -> None:
    async with kept_on(two_gpus, bundle, gpu_instances=1, gpus="0,1") as here:
        served = only(here)
        two_gpus.gate = threading.Event()
        held = asyncio.create_task(ask(served))
        await until(lambda: len(two_gpus.at_work()) == 1)
        (slow,) = two_gpus.at_work()
        gate, two_gpus.gate = two_gpus.gate, None
        two_gpus.batches.clear()
        for _ in range(5):
            await ask(served)
        assert {gpu for gpu, _ in two_gpus.batches} == {1 - slow}
        gate.set()
        await held


# A GPU dies


async def test_one_gpu_that_dies_makes_the_process_not_live_at_once(bundle: Bundle, two_gpus: Machine) -> None:
    async with kept_on(two_gpus, bundle, gpus="0,1") as here:
        assert here.models.not_live_because() == here.models.not_ready_because() == ""
        two_gpus.dead[1] = "Xid 79: the GPU has fallen off the bus"
        told = "model 'fake' version 1 on cuda:1: Xid 79: the GPU has fallen off the bus"
        assert here.models.not_live_because() == told
        assert here.models.not_ready_because() == told
        for _ in range(4):
            assert (await ask(only(here))).label, "until the process is ended, the other one answers"


async def test_where_the_last_gpu_dies_callers_hear_why_and_the_log_once(
    bundle: Bundle, two_gpus: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    async with kept_on(two_gpus, bundle, gpus="0") as here:
        two_gpus.dead[0] = "an illegal memory access was encountered"
        for _ in range(3):
            with pytest.raises(DeviceLost, match="an illegal memory access was encountered"):
                await ask(only(here))
    lost = [record.getMessage() for record in caplog.records if "has lost its device" in record.getMessage()]
    assert lost == [
        "model 'fake' version 1 has lost its device: an illegal memory access was encountered",
    ]


async def test_a_dead_engine_is_told_together_with_what_golden_samples_say(bundle: Bundle, two_gpus: Machine) -> None:
    async with kept_on(two_gpus, bundle, golden=GoldenWatch(0.02, 0.1, 1), gpus="0") as here:
        two_gpus.dead[0] = "gone"
        await here.until(lambda: "a golden inference failed: DeviceLost: gone" in here.models.not_live_because())
        assert here.models.not_live_because().startswith("model 'fake' version 1 on cuda:0: gone; ")


async def test_a_device_that_is_lost_while_a_model_is_brought_up_ends_the_process(
    bundle: Bundle, two_gpus: Machine
) -> None:
    two_gpus.dead[1] = "uncorrectable ECC error"
    async with kept_on(two_gpus, bundle, POLL_S, gpus="0,1") as here:
        assert here.states() == {1: "refused"}
        assert "uncorrectable ECC error" in here.models.not_live_because()
        assert "uncorrectable ECC error" in here.models.not_ready_because()


async def test_over_http_a_dead_gpu_shows_in_health_and_in_answers(bundle: Bundle, two_gpus: Machine) -> None:
    settings = Settings(repository=bundle.folder.parents[1], device="cuda", golden_every_s=0)
    async with started(settings, two_gpus.devices) as client:
        assert (await client.get("/v2/health/live")).status_code == 200
        two_gpus.dead[0] = "the context is gone"
        live, ready = await client.get("/v2/health/live"), await client.get("/v2/health/ready")
        answer = await client.post("/v1/classify", content=png())
        inferred = await client.post(
            "/v2/models/fake/infer", content=png(), headers={"Inference-Header-Content-Length": "0"}
        )
    told = "model 'fake' version 1 on cuda:0: the context is gone"
    assert (live.status_code, live.json()) == (503, {"live": False, "ready": False, "error": told})
    assert (ready.status_code, ready.json()) == (503, {"live": False, "ready": False, "error": told})
    assert error_of(answer, 503, "device_lost") == "the context is gone"
    assert inferred.status_code == 503


async def test_over_grpc_a_dead_gpu_shows_in_health(bundle: Bundle, two_gpus: Machine) -> None:
    async with kept_on(two_gpus, bundle, gpus="0,1") as here:
        health = HealthService(here.models.not_ready_because, asyncio.Event())
        asked = HEALTH_MESSAGES["HealthCheckRequest"]()
        assert (await health.check(asked, Call())).status == SERVING
        two_gpus.dead[1] = "gone"
        assert (await health.check(asked, Call())).status == NOT_SERVING


async def test_other_workers_hear_of_a_dead_gpu(bundle: Bundle, two_gpus: Machine, tmp_path: Path) -> None:
    """They share a port, so each of them speaks for all."""
    shared = Shared(tmp_path / "shared", 2)
    shared.folder.mkdir()
    async with kept_on(two_gpus, bundle, gpus="0,1") as here, AsyncExitStack() as ending:
        fleets = []
        for i in range(2):
            place = Place(str(shared.folder), i, 2, os.getppid())
            fleet = Fleet(place, here.models if i else FakeRepository(), lambda: None)
            await fleet.start(asyncio.sleep(0))
            ending.push_async_callback(fleet.stop)
            fleets.append(fleet)
        await here.until(lambda: not fleets[0].not_ready_because())
        two_gpus.dead[0] = "gone"
        told = "worker 2 of 2: model 'fake' version 1 on cuda:0: gone"
        await here.until(lambda: fleets[0].not_live_because() == told)
        await here.until(lambda: fleets[0].not_ready_because() == told)
