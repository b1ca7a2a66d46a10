"""ONNX Runtime on a GPU: what is refused, with what advice, and what the provider is told. No GPU is needed."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from bundle.errors import RuntimeFailed
from runtime import ort_cuda
from runtime.devices import num_gpus
from runtime.ort import OrtRuntime, open_session
from runtime.ort_cuda import DRIVER, missing_libraries, nodes_with_weights_on_cpu, provider_options
from runtime.runtime import ON_CPU, Placement
from tests.runtime.onnx_graphs import write_doubling, write_network

HAS_PROVIDER = "CUDAExecutionProvider" in ort.get_available_providers()
CUDA = Placement("cuda")
ROOT = Path(__file__).parents[2]


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
