"""What `make bench-gpu` runs a model with: PyTorch eager and compiled, ONNX Runtime, TensorRT; each loaded, or why not.

Knows bundles, run folders and engines. Knows nothing of time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bundle.device import DeviceInfo
from bundle.errors import ModelyardError, RunError
from bundle.store import Bundle
from runtime.choice import Wanted, choose
from runtime.cpus import available_cpus
from runtime.devices import installed_version
from runtime.runtime import Placement, Runtime, load_runtime

FP32, HALF = "fp32", "fp16"


@dataclass(frozen=True)
class Contestant:
    """One way to run a model."""

    engine: str
    artefact: str
    """Whose limit it is held to; for all but PyTorch, what it runs."""
    how: str
    load: Callable[[], Runtime]
    """Raises ModelyardError with the reason where it cannot be run."""


@dataclass(frozen=True)
class Stage:
    """Where, and at which batch sizes."""

    device: DeviceInfo
    batch_sizes: tuple[int, ...]
    engines: Path | None = None
    """A cache of engines outside of the bundles."""

    @property
    def placement(self) -> Placement:
        """For one caller who has the device to himself."""
        return Placement(self.device.kind, threads=available_cpus(), graph_batches=self.batch_sizes)


def contestants(bundle: Bundle, run: Path, stage: Stage) -> Iterator[Contestant]:
    """All of them for one model; those that cannot be loaded say so when they are."""
    yield from _torch(bundle, run, stage)
    for artefact in (FP32, HALF) if stage.device.kind == "cuda" else (FP32, HALF, "int8"):
        yield Contestant("ONNX Runtime", artefact, _how_ort(stage), lambda name=artefact: _ort(bundle, name, stage))
    for artefact in (FP32, HALF, "int8-trt"):
        yield Contestant(
            "TensorRT",
            artefact,
            "the engine built here, with graphs where shapes are fixed",
            lambda name=artefact: _trt(bundle, name, stage),
        )


def _how_ort(stage: Stage) -> str:
    return (
        "CUDA, with graphs where shapes are fixed"
        if stage.device.kind == "cuda"
        else f"CPU, {stage.placement.threads} threads"
    )


def _torch(bundle: Bundle, run: Path, stage: Stage) -> Iterator[Contestant]:
    device = stage.device.kind
    modes = {"PyTorch eager": "eager", "torch.compile": "compiled"}
    for engine, function in modes.items():
        for artefact in (FP32, HALF) if device == "cuda" else (FP32,):
            how = "autocast to fp16" if artefact == HALF else "TensorFloat-32 off"

            def load(function: str = function, autocast: bool = artefact == HALF) -> Runtime:
                return _of_run(bundle, run, device, function, autocast)

            yield Contestant(engine, artefact, how if device == "cuda" else _how_ort(stage), load)


def _of_run(bundle: Bundle, run: Path, device: str, function: str, autocast: bool) -> Runtime:
    if not run.is_dir():
        raise RunError(f"there is no run folder {run}: its graph in PyTorch is not at hand")
    from loadtests import torch_runtime  # seconds of import, for those who have something to run with it

    loaded: Runtime = getattr(torch_runtime, function)(bundle.manifest, run, device, autocast)
    return loaded


def _ort(bundle: Bundle, name: str, stage: Stage) -> Runtime:
    artefact = bundle.manifest.artefacts.get(name)
    if artefact is None:
        raise RunError(missing(bundle, name))
    return load_runtime(bundle.manifest, artefact.runtime, bundle.path(artefact), stage.placement)


def _trt(bundle: Bundle, name: str, stage: Stage) -> Runtime:
    if stage.device.kind != "cuda":
        raise RunError("TensorRT runs on NVIDIA GPUs alone")
    if name not in bundle.manifest.artefacts:
        raise RunError(missing(bundle, name))
    wanted = Wanted(runtime="tensorrt", artefact=name, require_engine=True, engines=stage.engines)
    choice = choose(bundle, stage.device, wanted, installed_version)
    return load_runtime(bundle.manifest, choice.runtime, choice.path, stage.placement)


def missing(bundle: Bundle, name: str) -> str:
    """Why a bundle has no such artefact."""
    left_out = {one.artefact: one.reason for one in bundle.manifest.left_out}
    return f"left out at export: {left_out[name]}" if name in left_out else f"the bundle has no artefact '{name}'"


def loaded(contestant: Contestant) -> tuple[Runtime | None, str]:
    """A contestant's runtime, or why there is none."""
    try:
        return contestant.load(), ""
    except ModelyardError as cause:
        return None, str(cause)
    except Exception as cause:  # noqa: BLE001 - torch's compiler and engines raise what they like; the others go on
        return None, f"{type(cause).__name__}: {cause}"
