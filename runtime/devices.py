"""What device this is, and which versions of the engines are installed: what proofs and engines are bound to.

Knows the operating system, CUDA's runtime and the engines' modules. Knows nothing of bundles.
"""

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

from bundle.device import DeviceInfo
from bundle.errors import RuntimeFailed
from runtime.cpus import available_cpus
from runtime.cuda import Gpu
from runtime.runtime import Placement

MODULES = {"onnxruntime": "onnxruntime", "tensorrt": "tensorrt"}
"""Runtime -> the module whose version counts."""
CPU_INFO = Path("/proc/cpuinfo")


def device_info(placement: Placement) -> DeviceInfo:
    """The device that a placement means.

    Raises:
        RuntimeFailed: there is no such GPU, or no driver for it.
    """
    if placement.device == "cpu":
        return DeviceInfo(kind="cpu", name=_cpu_name(), num_cpus=available_cpus())
    return _gpu(placement.index)


@cache
def _cpu_name() -> str:
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")


def cudart() -> Any:
    """CUDA's runtime, as its bindings offer it.

    Raises:
        RuntimeFailed: they are not installed.
    """
    try:
        return import_module("cuda.bindings.runtime")
    except ImportError as cause:
        raise RuntimeFailed(f"device 'cuda' needs CUDA's bindings: {cause}; pip install 'modelyard[gpu]'") from cause


def num_gpus() -> int:
    """How many GPUs this process may use; 0 where there is no driver, or nothing to ask it with."""
    try:
        error, count = cudart().cudaGetDeviceCount()
    except RuntimeFailed:
        return 0
    return 0 if int(error) else int(count)


def gpu_uuids() -> tuple[str, ...]:
    """The identity of each GPU that this process may use, as CUDA numbers them; the driver's tools name it too."""
    module = cudart()
    found = (module.cudaGetDeviceProperties(index) for index in range(num_gpus()))
    return tuple(str(UUID(bytes=properties.uuid.bytes)) for error, properties in found if not int(error))


@cache
def _gpu(index: int) -> DeviceInfo:
    gpu = Gpu(cudart(), index)
    properties = gpu.check(cudart().cudaGetDeviceProperties(index), "tell what it is")
    return DeviceInfo(
        kind="cuda",
        name=properties.name.decode().rstrip("\0"),
        compute_capability=f"{properties.major}.{properties.minor}",
    )


def installed_version(runtime: str) -> str | None:
    """The version of an engine as it is installed here; None where it is not.

    onnxruntime and onnxruntime-gpu are one module and tell the same version: what they compute on is in the device's
    part of a record.
    """
    if runtime not in MODULES:
        return ""
    try:
        return str(import_module(MODULES[runtime]).__version__)
    except ImportError:
        return None
