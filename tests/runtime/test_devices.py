"""What device this is, how many there are, and which engines are installed."""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import onnxruntime as ort
import pytest

from bundle.device import DeviceInfo
from bundle.errors import RuntimeFailed
from runtime import devices
from runtime.cpus import available_cpus
from runtime.devices import device_info, installed_version, num_gpus
from runtime.runtime import ON_CPU, Placement

HAS_GPU = num_gpus() > 0


@pytest.fixture
def cpu_info(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(devices, "CPU_INFO", tmp_path / "cpuinfo")
    devices._cpu_name.cache_clear()
    yield tmp_path / "cpuinfo"
    devices._cpu_name.cache_clear()


def test_a_cpu_is_named_as_the_system_names_it(cpu_info: Path) -> None:
    cpu_info.write_text("processor\t: 0\nmodel name\t: AMD EPYC 9B14\nprocessor\t: 1\nmodel name\t: AMD EPYC 9B14\n")
    assert device_info(ON_CPU) == DeviceInfo(kind="cpu", name="AMD EPYC 9B14", num_cpus=available_cpus())


@pytest.mark.parametrize("content", [None, "", "Hardware\t: BCM2835\n"])
def test_a_cpu_without_a_name_is_unknown(cpu_info: Path, content: str | None) -> None:
    if content is not None:
        cpu_info.write_text(content)
    assert device_info(ON_CPU).name == "unknown CPU"


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_with_advice() -> None:
    pytest.importorskip("cuda.bindings", reason="asked through CUDA's bindings")
    with pytest.raises(RuntimeFailed, match=r"there is no GPU 3 \(CUDA says cudaError\w+\); check the driver"):
        device_info(Placement("cuda", index=3))
    assert num_gpus() == 0


def test_without_cudas_bindings_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise RuntimeFailed("device 'cuda' needs CUDA's bindings")

    monkeypatch.setattr(devices, "cudart", missing)
    assert num_gpus() == 0


@pytest.mark.parametrize("name", ["cudaGetDeviceCount", "cudaGetDeviceProperties", "cudaSetDevice", "cudaMalloc"])
def test_the_calls_that_are_made_exist_in_cudas_bindings(name: str) -> None:
    pytest.importorskip("cuda.bindings", reason="looks into CUDA's bindings")
    assert callable(getattr(devices.cudart(), name))


def test_the_properties_that_are_read_exist_in_cudas_bindings() -> None:
    pytest.importorskip("cuda.bindings", reason="looks into CUDA's bindings")
    properties = devices.cudart().cudaDeviceProp()
    assert isinstance(properties.name, bytes)
    assert isinstance(properties.uuid.bytes, bytes)
    assert (properties.major, properties.minor) == (0, 0)


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="no CUDA device, or no driver for it")
def test_a_gpu_tells_what_it_is() -> None:
    for index in range(num_gpus()):
        info = device_info(Placement("cuda", index=index))
        assert info.kind == "cuda"
        assert info.name.startswith(("NVIDIA", "Tesla", "Quadro", "GRID"))
        assert float(info.compute_capability) >= 7
    with pytest.raises(RuntimeFailed, match=f"there is no GPU {num_gpus()}"):
        device_info(Placement("cuda", index=num_gpus()))


def test_the_version_of_an_engine_is_its_modules() -> None:
    assert installed_version("onnxruntime") == ort.__version__


@pytest.mark.parametrize("package", ["onnxruntime", "onnxruntime-gpu"])
def test_both_packages_of_onnxruntime_tell_the_version_of_the_module(package: str) -> None:
    try:
        assert version(package) == installed_version("onnxruntime")
    except ModuleNotFoundError:
        pytest.skip(f"{package} is not installed")


def test_an_engine_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(devices.MODULES, "tensorrt", "no_such_module")
    assert installed_version("tensorrt") is None


def test_a_runtime_without_a_module_needs_none() -> None:
    assert installed_version("fake") == ""
