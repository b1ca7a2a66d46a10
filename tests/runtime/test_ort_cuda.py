"""ONNX Runtime on a GPU: what is refused, with what advice, and how a session is set up.

Without a GPU the same code runs over the CPU's provider and imitated memory; with one, `pytest -m gpu` runs all of it.
"""

import gc
import logging
import subprocess
import sys
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
from runtime.ort_cuda import DRIVER, missing_libraries, nodes_with_weights_on_cpu, one_thread, provider_options
from runtime.runtime import ON_CPU, Placement
from tests.runtime.host_gpu import HostGpu
from tests.runtime.onnx_graphs import write_doubling, write_network, write_sum
from tests.runtime.simulated_cuda import SimulatedCuda
from tests.runtime.simulated_gpu import Error

HAS_PROVIDER = "CUDAExecutionProvider" in ort.get_available_providers()
CUDA = Placement("cuda")
ROOT = Path(__file__).parents[2]


def rows(num_rows: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((num_rows, 4), dtype=np.float32)


def pictures(num_rows: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((num_rows, 3, 16, 16), dtype=np.float32)


def test_what_a_placement_means_to_the_provider() -> None:
    assert provider_options(Placement("cuda", index=2, memory_bytes=1 << 30), graphs=True) == {
        "device_id": "2",
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "enable_cuda_graph": "1",
        "gpu_mem_limit": "1073741824",
        "arena_extend_strategy": "kSameAsRequested",
    }


def test_without_a_limit_all_of_the_gpu_may_be_used() -> None:
    options = provider_options(CUDA, graphs=False)
    assert not options.keys() & {"gpu_mem_limit", "arena_extend_strategy"}
    assert options["enable_cuda_graph"] == "0"


PRELOAD_WITHOUT_LIBRARIES = """\
Failed to load libcublasLt.so.13: libcublasLt.so.13: cannot open shared object file: No such file or directory
Failed to load libcublas.so.13: libcublas.so.13: cannot open shared object file: No such file or directory
Please follow https://onnxruntime.ai/docs/install/#cuda-and-cudnn to install CUDA."""


@pytest.fixture
def gpu_package(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As if onnxruntime-gpu were installed, with all libraries."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(ort, "preload_dlls", lambda: None)
    monkeypatch.setattr(ort_cuda, "_loads", lambda library: True)
    return monkeypatch


def test_libraries_that_are_missing_are_named_and_nothing_is_printed(
    gpu_package: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gpu_package.setattr(ort, "preload_dlls", lambda: print(PRELOAD_WITHOUT_LIBRARIES))
    assert missing_libraries() == ["libcublasLt.so.13", "libcublas.so.13"]
    with pytest.raises(RuntimeFailed) as caught:
        OrtRuntime(tmp_path / "model.onnx", CUDA)
    assert str(caught.value) == (
        "device 'cuda:0' was asked for, and this machine cannot load libcublasLt.so.13, libcublas.so.13: install "
        "CUDA's libraries with pip install 'modelyard[gpu]'; or choose device 'cpu'"
    )
    assert capfd.readouterr() == ("", "")


def test_a_driver_that_is_missing_is_named_with_both_ways_to_get_it(
    gpu_package: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gpu_package.setattr(ort_cuda, "_loads", lambda library: library != DRIVER)
    with pytest.raises(
        RuntimeFailed, match=r"'cuda:1' was asked for, and this machine cannot load libcuda\.so\.1: "
    ) as it:
        OrtRuntime(tmp_path / "model.onnx", Placement("cuda", index=1))
    assert "install NVIDIA's driver (libcuda.so.1), r580 or newer, or give the container its GPUs" in str(it.value)
    assert "modelyard[gpu]" not in str(it.value)


@pytest.mark.skipif(num_gpus() > 0, reason="there is a GPU")
def test_libraries_and_driver_without_a_gpu_are_refused(gpu_package: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("cuda.bindings", reason="asked through CUDA's bindings")
    with pytest.raises(RuntimeFailed, match=r"there is no GPU 0 .* or choose device 'cpu'"):
        OrtRuntime(tmp_path / "model.onnx", CUDA)


def test_a_session_that_fell_back_to_the_cpu_is_refused(tmp_path: Path) -> None:
    path = write_doubling(tmp_path / "model.onnx")
    session = open_session(path, ON_CPU, "CPUExecutionProvider", {})
    with pytest.raises(RuntimeFailed) as caught:
        ort_cuda.require_on_gpu(session, path, CUDA)
    assert str(caught.value).startswith(
        f"{path}: asked for CUDAExecutionProvider on cuda:0 and got ['CPUExecutionProvider']: "
    )
    assert "libonnxruntime_providers_cuda.so" in str(caught.value) or HAS_PROVIDER


def test_nodes_with_weights_that_the_cpu_would_compute_are_found(tmp_path: Path) -> None:
    session = open_session(write_network(tmp_path / "model.onnx"), ON_CPU, "CPUExecutionProvider", {})
    stray = ["Conv 'stem/conv'", "MatMul 'hidden/project'", "MatMul 'head/project'"]
    assert sorted(nodes_with_weights_on_cpu(session)) == sorted(stray)


def test_nodes_without_weights_may_be_computed_by_the_cpu(tmp_path: Path) -> None:
    session = open_session(write_doubling(tmp_path / "model.onnx"), ON_CPU, "CPUExecutionProvider", {})
    assert nodes_with_weights_on_cpu(session) == []


class PartlyOnTheCpu:
    """A session as onnxruntime-gpu makes it where CUDA has no kernel for some nodes."""

    def __init__(self, real: Any) -> None:
        self.get_provider_graph_assignment_info = real.get_provider_graph_assignment_info

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]


def test_a_graph_whose_weights_would_stay_on_the_cpu_is_refused(tmp_path: Path) -> None:
    path = write_network(tmp_path / "model.onnx")
    session = PartlyOnTheCpu(open_session(path, ON_CPU, "CPUExecutionProvider", {}))
    with pytest.raises(RuntimeFailed, match=r"CUDAExecutionProvider has no kernel for .*Conv 'stem/conv'") as caught:
        ort_cuda.require_on_gpu(session, path, CUDA)
    assert "choose another artefact, or device 'cpu'" in str(caught.value)


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostGpu]:
    """A GPU whose provider is the CPU's and whose memory is the host's."""
    gpu = HostGpu()
    monkeypatch.setattr(ort_cuda, "require_gpu", lambda placement: None)
    monkeypatch.setattr(ort_cuda, "PROVIDER", "CPUExecutionProvider")
    monkeypatch.setattr(ort_cuda, "BOUND_TO", "cpu")
    monkeypatch.setattr(ort_cuda, "provider_options", lambda placement, graphs: {})
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


ON_A_GPU = """
from pathlib import Path
import sys
from bundle.errors import RuntimeFailed
from runtime.ort import OrtRuntime
from runtime.runtime import Placement
try:
    OrtRuntime(Path(sys.argv[1]), Placement("cuda"))
except RuntimeFailed as refusal:
    print(refusal)
"""


@pytest.mark.skipif(not HAS_PROVIDER, reason="needs onnxruntime-gpu")
def test_without_a_gpu_the_provider_is_refused_and_nothing_falls_back(tmp_path: Path) -> None:
    path = write_network(tmp_path / "model.onnx")
    environment = {"CUDA_VISIBLE_DEVICES": "-1", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", ON_A_GPU, str(path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "choose device 'cpu'" in done.stdout
    assert done.stderr == ""


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
