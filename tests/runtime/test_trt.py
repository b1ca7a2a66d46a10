"""What TensorRT runtimes make of a GPU, and of one that misbehaves: on a simulated one, which does so on command."""

import gc
import logging
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from bundle.errors import DeviceLost, OutOfMemory, RuntimeFailed
from runtime import trt, trt_api
from runtime.capture_gate import CaptureGate
from runtime.runtime import ON_CPU, Placement, runtime_class
from runtime.trt import TrtRuntime
from tests.runtime.simulated_gpu import HOST, Error, SimulatedGpu
from tests.runtime.trt_cases import (
    ON_GPU,
    Case,
    SimulatedPlatform,
    assert_right,
    doubling_case,
    image_case,
    images,
    text_case,
    texts,
)

TWO_SLOTS = replace(ON_GPU, slots=2)


@pytest.fixture
def platform() -> Iterator[SimulatedPlatform]:
    platform = SimulatedPlatform()
    yield platform
    assert platform.gpu.misuses == []


@pytest.fixture
def threaded() -> Iterator[SimulatedPlatform]:
    platform = SimulatedPlatform(SimulatedGpu(threaded=True))
    yield platform
    platform.gpu.may_compute.set()
    assert platform.gpu.misuses == []


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return image_case(tmp_path)


def live(platform: SimulatedPlatform) -> dict[str, int]:
    """All that is allocated."""
    gpu = platform.gpu
    counts = {"host": gpu.live_bytes(HOST), "device": gpu.live_bytes(0), "streams": len(gpu.streams)}
    return {**counts, **platform.modules.trt.live, **platform.modules.cuda.live}


# -- overlap


def test_the_next_batch_is_copied_while_one_is_computed(threaded: SimulatedPlatform, case: Case) -> None:
    gpu = threaded.gpu
    runtime = threaded.load(case, TWO_SLOTS)
    gpu.journal.clear()
    gpu.may_compute.clear()
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(runtime.run, images(4, seed)) for seed in range(2)]
        try:
            gpu.wait_until(lambda: len({one.stream for one in gpu.entries("copy in")}) == 2)
            assert gpu.entries("compute") == []  # both are on the GPU, and nothing is computed yet
        finally:
            gpu.may_compute.set()
        for seed, answer in enumerate(answers):
            assert_right(case, images(4, seed), answer.result())


def test_with_one_slot_one_batch_is_on_the_gpu_at_a_time(threaded: SimulatedPlatform, case: Case) -> None:
    gpu = threaded.gpu
    runtime = threaded.load(case)
    gpu.journal.clear()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(runtime.run, [images(4, seed) for seed in range(12)]))
    steps = [one.what for one in gpu.journal if one.ended and one.what != "event"]
    assert steps == ["copy in", "compute", "copy out", "copy out"] * 12


@pytest.mark.parametrize("slots", [1, 2, 3])
@pytest.mark.parametrize("graph_batches", [(), (1, 2, 8, 32)], ids=["plain", "graphs"])
def test_threads_at_once_on_a_device_that_does_things_meanwhile(
    threaded: SimulatedPlatform, case: Case, slots: int, graph_batches: tuple[int, ...]
) -> None:
    runtime = threaded.load(case, replace(ON_GPU, slots=slots, graph_batches=graph_batches))

    def ask(seed: int) -> None:
        batch = images(seed * 7 % 32 + 1, seed)
        assert_right(case, batch, runtime.run(batch))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(400))) == [None] * 400


# -- captured graphs


def test_captured_sizes_are_launched_and_others_are_not(platform: SimulatedPlatform, case: Case) -> None:
    runtime = platform.load(case, replace(ON_GPU, graph_batches=(1, 4, 32, 64)))  # no engine has 64
    launches = []
    for num_rows in (1, 2, 4, 5, 32, 4):
        assert_right(case, images(num_rows), runtime.run(images(num_rows)))
        launches.append(len(platform.gpu.entries("launch")))
    assert launches == [1, 1, 2, 2, 3, 4]


def test_each_slot_captures_its_own(platform: SimulatedPlatform, case: Case) -> None:
    platform.load(case, replace(ON_GPU, slots=3, graph_batches=(1, 4)))
    assert platform.modules.cuda.live["graph"] == 0  # dropped with the runtime
    runtime = platform.load(case, replace(ON_GPU, slots=3, graph_batches=(1, 4)))
    assert platform.modules.cuda.live["graph"] == 6
    assert platform.modules.trt.live["context"] == 3 * (3 + 2)  # one a profile, one a graph
    assert runtime.dead_because == ""


def test_engines_of_varying_shapes_are_not_captured(platform: SimulatedPlatform, tmp_path: Path) -> None:
    runtime = platform.load(text_case(tmp_path), replace(ON_GPU, graph_batches=(1, 4)))
    assert platform.modules.cuda.live["graph"] == 0
    assert runtime.run(texts(4, 9))["pooled"].shape == (4, 4)


@pytest.mark.parametrize("call", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_a_capture_that_fails_is_said_once_and_its_batches_run_without(
    platform: SimulatedPlatform, case: Case, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    platform.modules.cuda.refusals[call] = [Error.cudaErrorStreamCaptureUnsupported]
    runtime = platform.load(case, replace(ON_GPU, graph_batches=(4, 8)))
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("batches of 4 run without a CUDA graph: cuda:0 cannot ")
    assert "cudaErrorStreamCapture" in said
    for num_rows in (4, 8, 4):
        assert_right(case, images(num_rows), runtime.run(images(num_rows)))
    assert len(platform.gpu.entries("launch")) == 1  # the batch of 8


def test_an_engine_that_cannot_be_captured_runs_without(
    platform: SimulatedPlatform, case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    plan = platform.plan(case)
    refusals = platform.modules.trt.refusals

    class SpoilsCaptures(list[str]):
        """Refuses whatever is queued while a stream captures."""

        def __bool__(self) -> bool:
            return any(stream.recording is not None for stream in platform.gpu.streams.values())

        def pop(self, index: int = -1) -> str:
            return "a loop cannot be captured"

    platform.modules.trt.refusals = SpoilsCaptures(refusals)
    runtime = TrtRuntime(plan, replace(ON_GPU, graph_batches=(4,)), platform.modules)
    assert "batches of 4 run without a CUDA graph: it cannot be queued; TensorRT says: " in caplog.text
    assert "a loop cannot be captured" in caplog.text
    assert_right(case, images(4), runtime.run(images(4)))


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


# -- captures of ONNX Runtime, in which nobody else may use CUDA


def test_a_capture_waits_for_the_batch_that_is_computed(
    threaded: SimulatedPlatform, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = CaptureGate()
    monkeypatch.setattr(trt, "GATE", gate)
    gpu, runtime = threaded.gpu, threaded.load(case)
    gpu.journal.clear()
    gpu.may_compute.clear()

    def capture() -> int:
        with gate.alone():
            return len(gpu.entries("copy out"))

    with ThreadPoolExecutor(2) as pool:
        answer = pool.submit(runtime.run, images(4))
        gpu.wait_until(lambda: bool(gpu.entries("compute", ended=False)))
        captured = pool.submit(capture)
        gpu.may_compute.set()
        assert captured.result() == len(gpu.entries("copy out")) > 0
        assert_right(case, images(4), answer.result())


@pytest.mark.parametrize("what", ["loading", "running"])
def test_nothing_is_asked_of_cuda_while_another_engine_captures(
    platform: SimulatedPlatform, case: Case, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    gate = CaptureGate()
    monkeypatch.setattr(trt, "GATE", gate)
    runtime = platform.load(case)
    entered = Event()
    before: list[dict[str, int]] = []

    class Watched(CaptureGate):
        @contextmanager
        def beside_others(self) -> Iterator[None]:
            entered.set()
            with gate.beside_others():
                before.append(live(platform))
                yield

    monkeypatch.setattr(trt, "GATE", Watched())
    with ThreadPoolExecutor(1) as pool:
        with gate.alone():
            done = pool.submit(platform.load, case) if what == "loading" else pool.submit(runtime.run, images(4))
            assert entered.wait(30)
            there = live(platform)
            platform.gpu.journal.clear()
        done.result()
    assert before == [there]


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


def test_a_loss_that_tensorrt_meets_first_is_a_loss(platform: SimulatedPlatform, case: Case) -> None:
    runtime = platform.load(case)
    words = "Error Code 1: Cuda Runtime (an illegal memory access was encountered)"
    platform.modules.trt.refusals.append(words)
    with pytest.raises(DeviceLost, match="an illegal memory access was encountered") as first:
        runtime.run(images(4))
    assert runtime.dead_because == str(first.value)
    with pytest.raises(DeviceLost, match="an illegal memory access was encountered"):
        runtime.run(images(4))


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


# -- loading


def test_a_plan_of_another_gpu_is_refused_with_what_to_do(platform: SimulatedPlatform, case: Case) -> None:
    with pytest.raises(RuntimeFailed, match=r"built for another GPU.*modelyard build-engine.*another device \(other\)"):
        platform.load(case, gpu="other")


def test_a_type_that_no_bundle_has_is_refused(platform: SimulatedPlatform, tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailed, match=r"tensor 'x' has type BF16; supported are BOOL, UINT8"):
        platform.load(doubling_case(tmp_path, "DOUBLE"))


def test_a_tensor_that_tensorrt_reads_on_the_host_is_refused(platform: SimulatedPlatform, tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailed, match="tensor 'ids' is a shape that TensorRT reads on the host"):
        platform.load(text_case(tmp_path), host=["ids"])


def test_a_cpu_is_refused(platform: SimulatedPlatform, case: Case) -> None:
    with pytest.raises(RuntimeFailed, match="TensorRT runs on GPUs only, not on 'cpu'; choose device 'cuda'"):
        platform.load(case, ON_CPU)


def test_libraries_that_are_missing_are_named_with_what_to_install(
    case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(name: str) -> None:
        raise ImportError("libnvinfer.so.11: cannot open shared object file")

    monkeypatch.setattr(trt_api, "import_module", missing)
    with pytest.raises(RuntimeFailed, match=r"libnvinfer.so.11.*pip install 'modelyard\[tensorrt\]'"):
        runtime_class("tensorrt")(tmp_path / "any.plan", ON_GPU)


def test_profiles_are_chosen_narrowly_whatever_their_order(platform: SimulatedPlatform, tmp_path: Path) -> None:
    case = image_case(tmp_path, bands=[(1, 8, 32), (1, 1, 1), (1, 2, 4)])
    runtime = platform.load(case, replace(ON_GPU, graph_batches=(1, 3)))
    assert [profile.index for profile in runtime._engine.profiles] == [1, 2, 0]
    for num_rows in (1, 3, 5, 32):
        assert_right(case, images(num_rows), runtime.run(images(num_rows)))


def test_rows_between_two_profiles_are_refused(platform: SimulatedPlatform, tmp_path: Path) -> None:
    runtime = platform.load(image_case(tmp_path, bands=[(1, 1, 1), (4, 8, 8)]))
    with pytest.raises(RuntimeFailed, match=r"shape \[2, 8, 8, 3\], the engine was built for \[1, .*; \[4, "):
        runtime.run(images(2))


def test_memory_of_texts_grows_to_what_the_engine_was_built_for_and_no_further(
    platform: SimulatedPlatform, tmp_path: Path
) -> None:
    runtime = platform.load(text_case(tmp_path))
    sizes = []
    for num_tokens in (16, 33, 64, 40, 64):
        runtime.run(texts(8, num_tokens))
        sizes.append(platform.gpu.live_bytes(HOST))
    assert sizes[0] < sizes[2]
    assert sizes[2:] == [8 * 64 * (8 + 1 + 4 * 4) + 8 * 4 * 4] * 3


def test_a_warning_of_tensorrt_is_logged(
    case: Case, platform: SimulatedPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    logger = trt_api.messages_of(platform.modules.trt).logger
    with caplog.at_level(logging.WARNING, "modelyard.runtime"):
        logger.log(platform.modules.trt.ILogger.Severity.WARNING, "built for another device of this kind")
    assert caplog.messages == ["tensorrt: built for another device of this kind"]


def test_words_of_other_threads_are_not_taken_for_the_reason(platform: SimulatedPlatform) -> None:
    messages = trt_api.messages_of(platform.modules.trt)
    error = platform.modules.trt.ILogger.Severity.ERROR
    other = threading.Thread(target=messages.logger.log, args=(error, "somebody else's OutOfMemory"))
    other.start()
    other.join()
    assert str(messages.refusal("it failed")) == "it failed; TensorRT says: it gave no reason"


def test_answers_are_no_views_of_memory_that_the_next_batch_uses(platform: SimulatedPlatform, case: Case) -> None:
    runtime = platform.load(case)
    answer = runtime.run(images(4))
    assert all(array.base is None and array.flags.owndata for array in answer.values())
    del runtime
    assert np.isclose(answer["scores"].sum(axis=1), 1, atol=1e-5).all()
