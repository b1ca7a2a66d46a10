"""What TensorRT runtimes do where a GPU fills up, breaks or goes; on a simulated one, which does so on command."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from bundle.errors import DeviceLost, OutOfMemory, RuntimeFailed
from runtime.runtime import Placement
from runtime.trt import TrtRuntime
from tests.runtime.simulated_gpu import HOST, Error, SimulatedGpu
from tests.runtime.trt_cases import (
    ON_GPU,
    Case,
    SimulatedPlatform,
    assert_right,
    images,
    text_case,
    texts,
)

TWO_SLOTS = replace(ON_GPU, slots=2)


def live(platform: SimulatedPlatform) -> dict[str, int]:
    """All that is allocated."""
    gpu = platform.gpu
    counts = {"host": gpu.live_bytes(HOST), "device": gpu.live_bytes(0), "streams": len(gpu.streams)}
    return {**counts, **platform.modules.trt.live, **platform.modules.cuda.live}


# -- memory


def test_an_engine_that_does_not_fit_leaves_nothing_behind(case: Case) -> None:
    roomy = SimulatedPlatform()
    kept = roomy.load(case, replace(TWO_SLOTS, graph_batches=(1, 8)))
    needed = roomy.gpu.live_bytes(0)
    for memory_bytes in range(needed // 20, needed, needed // 20):  # out of memory wherever it can be
        platform = SimulatedPlatform(SimulatedGpu(memory_bytes=memory_bytes))
        before = live(platform)
        try:
            runtime = platform.load(case, replace(TWO_SLOTS, graph_batches=(1, 8)))
        except OutOfMemory:
            pass
        else:  # only the contexts of graphs found no room
            assert_right(case, images(8), runtime.run(images(8)))
            assert platform.modules.cuda.live["graph"] < 4
            del runtime
        assert live(platform) == before
        assert platform.gpu.misuses == []
    assert kept.dead_because == ""


def test_an_engine_that_does_not_load_is_gone_while_its_error_is_still_looked_at(
    platform: SimulatedPlatform, case: Case
) -> None:
    before = live(platform)
    platform.modules.trt.refusals.append("the first run fails")
    with pytest.raises(RuntimeFailed, match="the first run fails") as caught:
        platform.load(case, TWO_SLOTS)
    assert caught.value.__traceback__ is not None  # it holds the frames of the runtime
    assert live(platform) == before


def test_a_batch_that_finds_no_memory_leaves_the_engine_alive(platform: SimulatedPlatform, tmp_path: Path) -> None:
    case = text_case(tmp_path)
    runtime = platform.load(case)
    platform.modules.cuda.refusals["cudaMalloc"] = [Error.cudaErrorMemoryAllocation]
    with pytest.raises(OutOfMemory, match=r"ids: int64 \[8, 64\].*cudaErrorMemoryAllocation.*MiB are free"):
        runtime.run(texts(8, 64))
    assert runtime.dead_because == ""
    for num_rows, num_tokens in [(4, 16), (8, 64)]:
        batch = texts(num_rows, num_tokens)
        assert_right(case, batch, runtime.run(batch))


@pytest.mark.parametrize(
    "said",
    [
        "Error Code 2: OutOfMemory (Requested size was 1024 bytes.)",
        "Error Code 1: Cuda Runtime (In allocate at gpu.cpp:1 (cudaError 2: out of memory))",
    ],
)
def test_memory_that_tensorrt_itself_does_not_get_is_out_of_memory(
    platform: SimulatedPlatform, case: Case, said: str
) -> None:
    runtime = platform.load(case)
    platform.modules.trt.refusals.append(said)
    with pytest.raises(OutOfMemory, match=r"TensorRT says: .*Error Code"):
        runtime.run(images(4))
    assert_right(case, images(4), runtime.run(images(4)))


def test_what_tensorrt_says_is_in_the_error_and_not_in_the_next(platform: SimulatedPlatform, case: Case) -> None:
    runtime = platform.load(case)
    platform.modules.trt.refusals.extend(["the first reason", "the second reason"])
    with pytest.raises(RuntimeFailed, match=r"tensorrt failed on image: uint8 \[4, 8, 8, 3\]: .*the first reason"):
        runtime.run(images(4))
    with pytest.raises(RuntimeFailed) as caught:
        runtime.run(images(4))
    assert "the second reason" in str(caught.value)
    assert "the first reason" not in str(caught.value)


@pytest.mark.parametrize("graph_batches", [(), (1, 8)], ids=["plain", "graphs"])
def test_nothing_is_left_after_loading_and_dropping_a_hundred_times(
    platform: SimulatedPlatform, case: Case, graph_batches: tuple[int, ...]
) -> None:
    plan = platform.plan(case)
    before = live(platform)
    for _ in range(100):
        TrtRuntime(plan, replace(TWO_SLOTS, graph_batches=graph_batches), platform.modules).run(images(3))
    assert live(platform) == before


def test_an_engine_is_freed_on_the_thread_that_drops_it_and_leaves_its_device_alone(case: Case) -> None:
    platform = SimulatedPlatform(SimulatedGpu(num_devices=2))
    cuda = platform.modules.cuda
    holder = [platform.load(case, Placement("cuda", index=1, slots=2, graph_batches=(4,)))]
    assert cuda.device == 0  # whoever loads is where it was
    gone = weakref.ref(holder[0])

    def drop() -> int:
        cuda.cudaSetDevice(0)
        holder.pop()
        gc.collect()
        return cuda.device

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(drop).result() == 0
    assert gone() is None
    assert platform.gpu.live_bytes(1) == 0
    assert platform.gpu.misuses == []


def test_engines_on_several_gpus_are_asked_by_any_thread(case: Case) -> None:
    platform = SimulatedPlatform(SimulatedGpu(num_devices=2))
    runtimes = [platform.load(case, Placement("cuda", index=i, slots=2, graph_batches=(4,))) for i in range(2)]

    def ask(seed: int) -> None:
        batch = images(seed % 9 + 1, seed)
        assert_right(case, batch, runtimes[seed % 2].run(batch))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(100))) == [None] * 100
    assert platform.gpu.misuses == []


# -- a device that breaks


@pytest.mark.parametrize("what", ["copy in", "compute", "copy out"])
@pytest.mark.parametrize("error", [Error.cudaErrorIllegalAddress, Error.cudaErrorECCUncorrectable])
@pytest.mark.parametrize("graph_batches", [(), (4,)], ids=["plain", "graphs"])
def test_a_device_that_breaks_is_named_and_never_asked_again(
    platform: SimulatedPlatform, case: Case, what: str, error: Error, graph_batches: tuple[int, ...]
) -> None:
    runtime = platform.load(case, replace(TWO_SLOTS, graph_batches=graph_batches))
    assert_right(case, images(4), runtime.run(images(4)))
    platform.gpu.break_at(what, error)
    with pytest.raises(
        DeviceLost, match=rf"cuda:0 is lost to this process: {error.name} \(.*\), when asked to"
    ) as first:
        runtime.run(images(4))
    assert runtime.dead_because == str(first.value)
    platform.gpu.broken.clear()  # even if it looked well again
    for batch in (images(4), images(1), {}):
        with pytest.raises(DeviceLost) as later:
            runtime.run(batch)
        assert str(later.value) == runtime.dead_because


def test_no_thread_gets_an_answer_after_the_device_broke(threaded: SimulatedPlatform, case: Case) -> None:
    runtime = threaded.load(case, TWO_SLOTS)
    threaded.gpu.break_at("compute", Error.cudaErrorLaunchFailure, after=20)
    ends: list[str] = []

    def ask(seed: int) -> None:
        batch = images(seed % 32 + 1, seed)
        try:
            answer = runtime.run(batch)
        except DeviceLost as cause:
            ends.append(str(cause))
        else:
            assert_right(case, batch, answer)
            ends.append("")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(100))) == [None] * 100
    assert ends.count("") in (19, 20)  # the other slot's answer may have been on its way back
    assert set(ends) - {""} == {runtime.dead_because}


def test_threads_that_wait_for_a_slot_are_told(threaded: SimulatedPlatform, case: Case) -> None:
    runtime = threaded.load(case)
    threaded.gpu.journal.clear()
    threaded.gpu.may_compute.clear()
    threaded.gpu.break_at("event", Error.cudaErrorHardwareStackError)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(runtime.run, images(4)) for _ in range(4)]
        threaded.gpu.wait_until(lambda: bool(threaded.gpu.entries("compute", ended=False)))
        threaded.gpu.may_compute.set()
        assert all(isinstance(one.exception(), DeviceLost) for one in asked)


def test_an_error_that_is_not_the_devices_end_is_not_taken_for_it(platform: SimulatedPlatform, case: Case) -> None:
    runtime = platform.load(case)
    platform.modules.cuda.refusals["cudaMemcpyAsync"] = [Error.cudaErrorInvalidValue]
    with pytest.raises(RuntimeFailed, match="cannot queue a copy: cudaErrorInvalidValue") as caught:
        runtime.run(images(4))
    assert type(caught.value) is RuntimeFailed
    assert runtime.dead_because == ""
    assert_right(case, images(4), runtime.run(images(4)))


def test_work_is_waited_for_when_the_rest_could_not_be_queued(platform: SimulatedPlatform, case: Case) -> None:
    runtime = platform.load(case)
    platform.gpu.journal.clear()
    platform.modules.trt.refusals.append("no")
    with pytest.raises(RuntimeFailed):
        runtime.run(images(4))
    assert [one.what for one in platform.gpu.journal if one.ended] == ["copy in", "event"]
    assert all(not stream.steps for stream in platform.gpu.streams.values())


def test_a_refusal_whose_cause_is_a_broken_device_is_a_lost_device(platform: SimulatedPlatform, case: Case) -> None:
    runtime = platform.load(case)
    platform.gpu.break_at("copy in", Error.cudaErrorIllegalAddress)
    platform.modules.trt.refusals.append("Error Code 1: Cuda Runtime (an illegal memory access was encountered)")
    with pytest.raises(DeviceLost, match="cudaErrorIllegalAddress"):
        runtime.run(images(4))


def test_a_broken_device_does_not_hinder_dropping(
    platform: SimulatedPlatform, case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = platform.load(case, replace(TWO_SLOTS, graph_batches=(4,)))
    platform.gpu.break_at("compute", Error.cudaErrorLaunchFailure)
    with pytest.raises(DeviceLost):
        runtime.run(images(4))
    del runtime
    gc.collect()
    assert platform.modules.trt.live == {"engine": 0, "context": 0}
    assert caplog.records == []  # one cause is told once


def test_a_loss_that_tensorrt_meets_first_is_a_loss(platform: SimulatedPlatform, case: Case) -> None:
    runtime = platform.load(case)
    words = "Error Code 1: Cuda Runtime (an illegal memory access was encountered)"
    platform.modules.trt.refusals.append(words)
    with pytest.raises(DeviceLost, match="an illegal memory access was encountered") as first:
        runtime.run(images(4))
    assert runtime.dead_because == str(first.value)
    with pytest.raises(DeviceLost, match="an illegal memory access was encountered"):
        runtime.run(images(4))
