"""What TensorRT runtimes make of a GPU: overlap, graphs, and which plans they take; on a simulated one."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundle.errors import RuntimeFailed
from runtime import trt, trt_api
from runtime.capture_gate import GATE, CaptureGate
from runtime.runtime import ON_CPU, runtime_class
from runtime.trt import TrtRuntime
from tests.runtime.simulated_gpu import HOST, Error
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


def test_batches_wait_while_another_engine_captures_in_the_mode_that_allows_nobody_else(
    threaded: SimulatedPlatform, case: Case
) -> None:
    runtime = threaded.load(case)
    with ThreadPoolExecutor(2) as pool:
        with GATE.alone():
            threaded.gpu.journal.clear()
            asked = pool.submit(runtime.run, images(4))
            loaded = pool.submit(threaded.load, case)
            with pytest.raises(TimeoutError):
                asked.result(timeout=0.1)
            assert threaded.gpu.journal == []
        assert_right(case, images(4), asked.result())
        assert_right(case, images(4), loaded.result().run(images(4)))


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


def test_whoever_asked_hears_what_is_said_too(platform: SimulatedPlatform) -> None:
    messages, severity = trt_api.messages_of(platform.modules.trt), platform.modules.trt.ILogger.Severity
    heard: list[tuple[str, str]] = []
    messages.also.append(lambda kind, said: heard.append((kind, said)))
    for one in (severity.ERROR, severity.WARNING, severity.INFO):
        messages.logger.log(one, one.name)
    assert heard == [("error", "ERROR"), ("warning", "WARNING")]


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
