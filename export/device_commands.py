"""The command lines for the machine that will serve: `modelyard build-engine`, `modelyard prove`; without torch."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from bundle.errors import RuntimeFailed
from bundle.store import is_repository, newest_of_each, open_newest
from export.build_engine import Order, build_engines
from export.build_repository import build_all
from export.device_proof import bench
from export.prove_device import Ask, TestSplitWanted, prove_bundle, table
from export.say import say
from export.tensorrt import BuildOptions, HardwareCompatibility
from runtime.cuda import Gpu
from runtime.devices import cudart


def build_engine_command(arguments: list[str]) -> None:
    """`modelyard build-engine BUNDLE [--artefacts fp16 int8-trt]`."""
    tyro.cli(_build_engine, prog="modelyard build-engine", args=arguments)


def prove_command(arguments: list[str]) -> None:
    """`modelyard prove BUNDLE [--device cpu|cuda]`."""
    tyro.cli(_prove, prog="modelyard prove", args=arguments)


def _build_engine(
    bundle: tyro.conf.Positional[Path],
    /,
    artefacts: tuple[str, ...] = (),
    device: int = 0,
    workspace_mib: int | None = None,
    timing_cache: Path | None = None,
    hardware_compatibility: HardwareCompatibility = "none",
    optimisation_level: int = 3,
    engines: Path | None = None,
    test_split: TestSplitWanted = "no",
    again: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Build TensorRT engines for a GPU of this machine and prove them on it. Prints the path of each record.

    What is there and valid is left as it is. The exit code is 1 if no engine is proven in the end; for a repository, if
    any of its models that are meant for the GPU has none. A model that fails stops none of the others.

    Args:
        bundle: folder of a bundle, <repository>/<name>/<version>; without the version, the newest; a repository: the
            newest version of each of its models
        artefacts: which; all that are meant for GPUs if none is named
        device: which GPU, as CUDA numbers those that this process may see
        workspace_mib: scratch memory that a layer may take; all of the GPU's if not given
        timing_cache: file of kernel timings, read and written back: the next build is quicker
        hardware_compatibility: which other GPUs the plan may run on, at some cost of speed
        optimisation_level: 0 builds fastest, 5 searches longest for fast kernels
        engines: folder for engines and proofs; inside the bundle if none is given
        test_split: score the test split too, where the bundle's data and the training extra are at hand
        again: build also what is there and valid
    """
    options = BuildOptions(workspace_mib, hardware_compatibility, optimisation_level, timing_cache)
    order = Order(artefacts, options, again, engines, test_split)
    if bundle.is_dir() and is_repository(bundle):
        _build_repository(newest_of_each(bundle), device, order)
        return
    opened = open_newest(bundle)
    present = bench("cuda", device)
    built = build_engines(opened, present, _tensorrt(device), order)
    _tell([table(built.outcomes), *(f"'{name}': NOT BUILT: {why}" for name, why in built.unbuilt.items())])
    _print_paths([*built.there, *built.written])
    if not built.there and not built.written:
        sys.exit(1)


def _build_repository(folders: list[Path], device: int, order: Order) -> None:
    built = build_all(folders, bench("cuda", device), _tensorrt(device), order)
    _tell([f"{name}: NO ENGINE: {why}" for name, why in built.failed.items()])
    _print_paths(built.records)
    if built.failed:
        sys.exit(1)


def _prove(
    bundle: tyro.conf.Positional[Path],
    /,
    device: Literal["cpu", "cuda"] = "cuda",
    gpu: int = 0,
    runtimes: tuple[str, ...] = (),
    artefacts: tuple[str, ...] = (),
    test_split: TestSplitWanted = "auto",
    engines: Path | None = None,
) -> None:
    """Prove a bundle's artefacts, and its engines, on the device at hand. Prints the path of each record.

    What fails is refused: its record is removed, and the exit code is 1.

    Args:
        bundle: folder of a bundle, <repository>/<name>/<version>; without the version, the newest
        device: kind of device
        gpu: which GPU, as CUDA numbers those that this process may see
        runtimes: only in these; in all if none is named
        artefacts: which; all that are meant for the device if none is named
        test_split: score the test split too; "auto" does where the bundle's data and the training extra are at hand
        engines: folder for engines and proofs; inside the bundle if none is given
    """
    opened = open_newest(bundle)
    outcomes, written = prove_bundle(opened, bench(device, gpu), Ask(artefacts, runtimes, test_split, engines))
    _tell([table(outcomes)])
    _print_paths(written)
    if any(one.refused for one in outcomes):
        sys.exit(1)


def _tensorrt(index: int) -> Any:
    """The module, with the GPU that it will build for made the current one."""
    try:
        import tensorrt
    except ImportError as cause:
        raise RuntimeFailed(f"TensorRT cannot be imported: {cause}; pip install 'modelyard[tensorrt]'") from None
    Gpu(cudart(), index).use()
    return tensorrt


def _tell(lines: list[str]) -> None:
    for line in filter(None, lines):
        say(line)


def _print_paths(paths: list[Path]) -> None:
    for path in paths:
        print(path)
