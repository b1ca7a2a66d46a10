"""Batches through ONNX Runtime on a GPU: answers, memory, graphs, and a device that breaks.

Without a GPU the same code runs over the CPU's provider and a simulated one; with one, `pytest -m gpu` runs the rest.
"""

import gc
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from bundle.errors import DeviceLost, OutOfMemory, RuntimeFailed
from bundle.tensors import Array
from runtime import ort_cuda
from runtime.devices import num_gpus
from runtime.ort import OrtRuntime, open_session
from runtime.ort_cuda import one_thread, provider_options
from runtime.runtime import Placement
from tests.runtime.host_gpu import HostGpu, play_provider
from tests.runtime.onnx_graphs import write_doubling, write_network, write_sum
from tests.runtime.simulated_cuda import SimulatedCuda
from tests.runtime.simulated_gpu import Error

HAS_PROVIDER = "CUDAExecutionProvider" in ort.get_available_providers()
CUDA = Placement("cuda")


def rows(num_rows: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((num_rows, 4), dtype=np.float32)


def pictures(num_rows: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((num_rows, 3, 16, 16), dtype=np.float32)


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostGpu]:
    """A GPU whose provider is the CPU's and whose memory is the host's."""
    gpu = HostGpu()
    play_provider(monkeypatch)
    monkeypatch.setattr(ort_cuda, "cudart", lambda: SimulatedCuda(gpu))
    yield gpu
    gc.collect()
    assert gpu.misuses == []


@pytest.mark.parametrize("graph_batches", [(), (1, 4)])
def test_a_runtime_on_a_gpu_answers_as_one_on_the_cpu(
    simulated: HostGpu, tmp_path: Path, graph_batches: tuple[int, ...]
) -> None:
    path = write_doubling(tmp_path / "model.onnx")
    on_gpu = OrtRuntime(path, Placement("cuda", slots=2, graph_batches=graph_batches))
    on_cpu = OrtRuntime(path)
    assert (on_gpu.inputs, on_gpu.outputs) == (on_cpu.inputs, on_cpu.outputs)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: on_gpu.run({"x": rows(n % 6 + 1, n)})["y"], range(60)))
    for n, answer in enumerate(answers):
        assert np.array_equal(answer, on_cpu.run({"x": rows(n % 6 + 1, n)})["y"])


def test_a_batch_that_does_not_fit_the_graph_is_told_as_on_the_cpu(simulated: HostGpu, tmp_path: Path) -> None:
    runtime = OrtRuntime(write_doubling(tmp_path / "model.onnx"), CUDA)
    with pytest.raises(
        RuntimeFailed, match=r"onnxruntime failed on x: float32 \[2, 3\]: tensor 'x' has shape \[2, 3\]"
    ):
        runtime.run({"x": rows(2)[:, :3]})


def test_memory_that_is_used_up_is_told_and_a_smaller_batch_is_computed(simulated: HostGpu, tmp_path: Path) -> None:
    simulated.memory_bytes = 200
    runtime = OrtRuntime(write_doubling(tmp_path / "model.onnx"), CUDA)
    with pytest.raises(
        OutOfMemory, match=r"onnxruntime failed on x: float32 \[8, 4\]: cuda:0 cannot allocate 128 bytes"
    ):
        runtime.run({"x": rows(8)})
    assert runtime.dead_because == ""
    gc.collect()
    assert np.array_equal(runtime.run({"x": rows(4)})["y"], rows(4) * 2)


def test_a_gpu_that_breaks_ends_the_runtime_with_the_first_cause(simulated: HostGpu, tmp_path: Path) -> None:
    runtime = OrtRuntime(write_doubling(tmp_path / "model.onnx"), CUDA)
    runtime.run({"x": rows(2)})
    simulated.break_at("copy in", Error.cudaErrorIllegalAddress)
    with pytest.raises(DeviceLost, match="cuda:0 is lost to this process: cudaErrorIllegalAddress"):
        runtime.run({"x": rows(2)})
    simulated.broken.clear()  # it never heals; but even then nobody believes it
    with pytest.raises(DeviceLost, match=r"cuda:0 is lost to this process: .*cudaErrorIllegalAddress"):
        runtime.run({"x": rows(2)})
    assert "cudaErrorIllegalAddress" in runtime.dead_because


def test_a_failure_that_says_nothing_asks_the_gpu(simulated: HostGpu, tmp_path: Path) -> None:
    runtime = OrtRuntime(write_doubling(tmp_path / "model.onnx"), CUDA)
    simulated.break_at("copy out", Error.cudaErrorLaunchFailure)
    with pytest.raises(DeviceLost, match="cudaErrorLaunchFailure"):
        runtime.run({"x": rows(2)})
    assert "cudaErrorLaunchFailure" in runtime.dead_because


def test_a_graph_whose_sizes_vary_runs_without_cuda_graphs_and_says_so_once(
    simulated: HostGpu, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_sum(tmp_path / "model.onnx")
    with caplog.at_level(logging.WARNING, "modelyard.runtime"):
        runtime = OrtRuntime(path, Placement("cuda", graph_batches=(1, 2)))
    (line,) = caplog.messages
    assert line == f"{path}: runs without CUDA graphs on cuda:0: more than the batch has a size of its own"
    assert runtime.run({"x": rows(2), "z": rows(2)})["parts"].shape == (2, 8)


REFUSAL = (
    "[ONNXRuntimeError] : 1 : FAIL : This session cannot use the graph capture feature as requested by the user as the "
    "model has control flow nodes which can't be supported by CUDAExecutionProvider"
)


def test_a_graph_that_onnx_runtime_will_not_capture_runs_without(
    simulated: HostGpu, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_open = open_session

    def refuses_graphs(path: Path, placement: Placement, provider: str, options: dict[str, str]) -> Any:
        if options:
            raise RuntimeFailed(REFUSAL)
        return really_open(path, placement, provider, options)

    monkeypatch.setattr(ort_cuda, "open_session", refuses_graphs)
    monkeypatch.setattr(ort_cuda, "provider_options", lambda placement, graphs: {"graphs": "1"} if graphs else {})
    with caplog.at_level(logging.WARNING, "modelyard.runtime"):
        runtime = OrtRuntime(write_doubling(tmp_path / "model.onnx"), Placement("cuda", graph_batches=(1,)))
    assert [REFUSAL in line for line in caplog.messages] == [True]
    assert np.array_equal(runtime.run({"x": rows(1)})["y"], rows(1) * 2)


def test_a_gpu_that_breaks_while_graphs_are_captured_is_no_reason_to_go_on(simulated: HostGpu, tmp_path: Path) -> None:
    simulated.break_at("copy in", Error.cudaErrorLaunchFailure)
    with pytest.raises(DeviceLost, match="cudaErrorLaunchFailure"):
        OrtRuntime(write_doubling(tmp_path / "model.onnx"), Placement("cuda", graph_batches=(1,)))


def test_graphs_are_captured_and_replayed_on_one_thread() -> None:
    threads: list[str] = []
    compute = one_thread(lambda binding, options: threads.append(threading.current_thread().name))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: compute(None, None), range(40)))
    assert len(threads) == 40
    assert len(set(threads)) == 1


def test_what_fails_on_that_thread_fails_for_the_caller() -> None:
    def fails(binding: object, options: object) -> None:
        raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        one_thread(fails)(None, None)


on_a_gpu = pytest.mark.skipif(
    not HAS_PROVIDER or num_gpus() == 0, reason="needs onnxruntime-gpu, a CUDA device and its driver"
)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("network") / "model.onnx")


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("graph_batches", [(), (1, 8)])
@pytest.mark.parametrize("index", range(max(1, num_gpus())))
def test_a_gpu_gives_the_answers_of_the_cpu(network: Path, graph_batches: tuple[int, ...], index: int) -> None:
    on_gpu = OrtRuntime(network, Placement("cuda", index=index, slots=2, graph_batches=graph_batches))
    on_cpu = OrtRuntime(network)
    for num_rows in (1, 8, 3, 32, 1, 8):
        x = {"x": pictures(num_rows, num_rows)}
        np.testing.assert_allclose(on_gpu.run(x)["scores"], on_cpu.run(x)["scores"], atol=1e-5)


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("graph_batches", [(), (1, 4)])
def test_threads_at_once_get_their_own_answers_from_a_gpu(network: Path, graph_batches: tuple[int, ...]) -> None:
    on_gpu = OrtRuntime(network, Placement("cuda", slots=3, graph_batches=graph_batches))
    on_cpu = OrtRuntime(network)

    def error(seed: int) -> float:
        x = {"x": pictures(seed % 5 + 1, seed)}
        return float(np.abs(on_gpu.run(x)["scores"] - on_cpu.run(x)["scores"]).max())

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(error, range(200))) < 1e-5


@pytest.mark.gpu
@on_a_gpu
def test_graphs_are_really_captured(network: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "modelyard.runtime"):
        OrtRuntime(network, Placement("cuda", graph_batches=(1,)))
    assert caplog.messages == []


@pytest.mark.gpu
@on_a_gpu
def test_the_provider_has_the_options_it_was_given(network: Path) -> None:
    placement = Placement("cuda", memory_bytes=1 << 30)
    told = ort_cuda.OnGpu(network, placement).session.get_provider_options()["CUDAExecutionProvider"]
    wanted = provider_options(placement, graphs=False)
    assert {name: told[name] for name in wanted} == wanted


@pytest.mark.gpu
@on_a_gpu
def test_a_limit_that_a_batch_exceeds_is_out_of_memory_and_a_smaller_one_is_computed(tmp_path: Path) -> None:
    path = write_network(tmp_path / "model.onnx", num_hidden=1 << 16)
    limited = OrtRuntime(path, Placement("cuda", memory_bytes=256 << 20))
    with pytest.raises(OutOfMemory):
        limited.run({"x": pictures(2048)})  # 512 MiB between the layers
    assert limited.dead_because == ""
    expected = OrtRuntime(path).run({"x": pictures(4)})["scores"]
    np.testing.assert_allclose(limited.run({"x": pictures(4)})["scores"], expected, atol=1e-5)
