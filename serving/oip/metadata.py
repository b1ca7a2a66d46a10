"""What the protocol says of a server and of a model: metadata and model configuration, as plain dictionaries.

REST writes them as JSON, gRPC puts them into messages: the keys are the messages' fields. Knows manifests. Knows
nothing of HTTP or gRPC.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from bundle.manifest import Manifest
from bundle.preprocess import ImageResize, Series
from bundle.preprocess.image import FORMATS
from bundle.tensors import TensorSpec
from serving.oip.datatypes import DATATYPES, name_of

SERVER_NAME = "modelyard"

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "parameters",
    "schedule_policy",
    "statistics",
)
"""What works, whoever asks."""

ADMIN_EXTENSIONS = ("model_repository",)
"""What works where the server has an admin key."""

PLATFORMS = {"onnxruntime": ("onnxruntime_onnx", "onnxruntime"), "tensorrt": ("tensorrt_plan", "tensorrt")}
"""Runtime -> (platform, backend) by the names that clients know; another runtime goes by its own."""


@dataclass(frozen=True)
class Scheduling:
    """How one model is queued and run, as far as its configuration tells; the defaults are those of a bare manifest."""

    max_batch_size: int
    max_queue_delay_us: int = 0
    max_queue: int = 0
    timeout_us: int = 0
    instances: int = 1
    """On each GPU, where it runs on GPUs."""
    gpus: tuple[int, ...] = ()
    runtime: str = "onnxruntime"
    file: str = ""
    """What the runtime loads, by its name in the bundle or the cache."""


def server_metadata(admin: bool) -> dict[str, Any]:
    """Name, version, and the extensions that work; `admin` says whether an admin key is set."""
    extensions = sorted([*EXTENSIONS, *(ADMIN_EXTENSIONS if admin else ())])
    return {"name": SERVER_NAME, "version": version("modelyard"), "extensions": extensions}


def model_metadata(manifest: Manifest, versions: Sequence[int], runtime: str) -> dict[str, Any]:
    """Name, versions that are served, platform, and tensors; -1 stands for any size, and the batch comes first."""
    return {
        "name": manifest.name,
        "versions": [str(one) for one in versions],
        "platform": _platform(runtime)[0],
        "inputs": [_tensor(spec) for spec in manifest.inputs],
        "outputs": [_tensor(spec) for spec in manifest.outputs],
    }


def model_config(manifest: Manifest, scheduling: Scheduling, versions: Sequence[int]) -> dict[str, Any]:
    """The model configuration; its shapes leave the batch out, and `max_batch_size` says that there is one."""
    platform, backend = _platform(scheduling.runtime)
    group: dict[str, Any] = {"name": manifest.name, "kind": "KIND_CPU", "count": scheduling.instances}
    if scheduling.gpus:
        group |= {"kind": "KIND_GPU", "gpus": list(scheduling.gpus)}
    policy = {
        "timeout_action": "REJECT",
        "default_timeout_microseconds": scheduling.timeout_us,
        "allow_timeout_override": True,
        "max_queue_size": scheduling.max_queue,
    }
    return {
        "name": manifest.name,
        "platform": platform,
        "backend": backend,
        "version_policy": {"specific": {"versions": list(versions)}},
        "max_batch_size": scheduling.max_batch_size,
        "input": [_config_input(spec, manifest) for spec in manifest.inputs],
        "output": [_config_tensor(spec) for spec in manifest.outputs],
        "instance_group": [group],
        "default_model_filename": scheduling.file,
        "dynamic_batching": {
            "preferred_batch_size": [],
            "max_queue_delay_microseconds": scheduling.max_queue_delay_us,
            "default_queue_policy": policy,
        },
        "model_warmup": [],
        "response_cache": {"enable": False},
        "parameters": {key: {"string_value": value} for key, value in _parameters(manifest).items()},
    }


def encoded_input(manifest: Manifest) -> str:
    """What a BYTES element in place of the input tensors may hold: the media types that the model's preparing reads."""
    if isinstance(manifest.preprocess, ImageResize):
        return ", ".join(FORMATS.values())
    return "text/csv" if isinstance(manifest.preprocess, Series) else "text/plain"


def _parameters(manifest: Manifest) -> dict[str, str]:
    return {"task": manifest.task, "encoded_input": encoded_input(manifest), "digest": manifest.digest}


def _platform(runtime: str) -> tuple[str, str]:
    return PLATFORMS.get(runtime, (f"{SERVER_NAME}_{runtime}", f"{SERVER_NAME}_{runtime}"))


def _sizes(spec: TensorSpec) -> list[int]:
    return [size if isinstance(size, int) else -1 for size in spec.shape]


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": name_of(spec.dtype), "shape": _sizes(spec)}


def _config_tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "data_type": DATATYPES[name_of(spec.dtype)].config_name, "dims": _sizes(spec)[1:]}


def _config_input(spec: TensorSpec, manifest: Manifest) -> dict[str, Any]:
    form = "FORMAT_NHWC" if isinstance(manifest.preprocess, ImageResize) else "FORMAT_NONE"
    return _config_tensor(spec) | {"format": form}
