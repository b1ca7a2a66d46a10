"""`make bench-gpu`: every model in PyTorch, ONNX Runtime and TensorRT on a GPU, and the service beside its engine.

Engines are built and proven first, then each is held to the golden outputs before it is timed. A row that cannot run
says why; no figure is made up. `--device cpu` runs the same code where there is no GPU, into another file. Knows the
parts in gpu_*.py and joins them here.
"""

import platform
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import tyro

from bundle.device import DeviceInfo, DeviceKind
from bundle.errors import ModelyardError
from bundle.store import Bundle, names, newest, open_bundle
from loadtests.bench_models import COPIES
from loadtests.gpu_contestants import Stage, contestants
from loadtests.gpu_pace import engine_row, golden_questions
from loadtests.gpu_served import Drive, served
from loadtests.server import ROOT
from runtime.devices import device_info
from runtime.runtime import Placement
from training.checkpoint import code_commit
from training.gpu_results import EngineRow, GpuResults, ModelFigures, Served, write_gpu_results
from training.results import this_machine

LIBRARIES = ("torch", "onnxruntime", "onnxruntime-gpu", "tensorrt", "cuda-bindings", "cuda-core", "numpy")
READY = ("build-engine", "prove")
"""Commands that a GPU's bundles go through before they are served."""
COMMAND_LIMIT_S = 1800


@dataclass(frozen=True)
class Options:
    """Measure engines and the service on one device."""

    repositories: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of models; the run of a model is looked for in <repository>/../runs/<name>."""
    models: tuple[str, ...] = ()
    """Only these; all if none is named."""
    device: DeviceKind = "cuda"
    batch_sizes: tuple[int, ...] = (1, 8, 32)
    connections: tuple[int, ...] = (1, 32, 128)
    seconds: float = 2.0
    """Of one measurement."""
    parts: tuple[str, ...] = ("engines", "served")
    """What is measured."""
    ready: tuple[str, ...] = READY
    """Commands that are run on every bundle first, where the device is a GPU."""
    engines: Path | None = None
    """A cache of engines outside of the bundles."""
    flags: tuple[str, ...] = ()
    """Further flags of the service."""
    json_file: Path = Path("build/gpu-bench.json")
    """Where the figures go; results/gpu.json takes a GPU's alone."""


def gpu_bench(options: Options) -> int:
    """Measure, write, print; 1 where the device is not there, or an answer of the service was wrong or missing."""
    try:
        device = device_info(Placement(options.device))
        bundles = [open_bundle(newest(folder)) for folder in _folders(options)]
        commands = tuple(_prepare(bundles, options)) if device.kind == "cuda" else ()
        results = GpuResults(
            device=device,
            driver=_driver(device),
            machine=this_machine(),
            versions=_versions(),
            commit=code_commit(),
            commands=(*commands, shlex.join(["python", "-m", "loadtests.gpu_bench", *sys.argv[1:]])),
            models=tuple(_measure(bundle, device, options) for bundle in bundles),
        )
        write_gpu_results(options.json_file, results)
    except ModelyardError as cause:
        print(f"gpu_bench: {cause}", file=sys.stderr)
        return 1
    print_results(results)
    return 1 if any(row.wrong for model in results.models for row in model.served.http) else 0


def _folders(options: Options) -> list[Path]:
    """Of the models; copies of others say nothing new."""
    found = [repository / name for repository in options.repositories for name in names(repository)]
    wanted = [folder for folder in found if folder.name in options.models or not options.models]
    return [folder for folder in wanted if folder.name not in COPIES]


def _prepare(bundles: list[Bundle], options: Options) -> list[str]:
    """Engines and proofs; a command that fails is told with its last line, and its rows say what they lack."""
    told = []
    for bundle in bundles:
        for name in options.ready:
            cache = ["--engines", str(options.engines)] if options.engines else []
            command = [name, str(bundle.folder), *cache]
            _say(f"modelyard {shlex.join(command)}")
            done = subprocess.run(
                [sys.executable, "-m", "modelyard", *command],
                cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                timeout=COMMAND_LIMIT_S, check=False,
            )  # fmt: skip
            sys.stderr.write(done.stderr)
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            ended = "" if done.returncode == 0 else f"  # ended with {done.returncode}: {last}"
            told.append(_portable(f"modelyard {shlex.join(command)}{ended}"))
    return told


def _measure(bundle: Bundle, device: DeviceInfo, options: Options) -> ModelFigures:
    manifest = bundle.manifest
    sizes = tuple(size for size in options.batch_sizes if size <= manifest.max_batch_size)
    stage = Stage(device, sizes, options.engines)
    rows: list[EngineRow] = []
    if "engines" in options.parts:
        asked = golden_questions(bundle)
        for one in contestants(bundle, bundle.folder.parents[2] / "runs" / manifest.name, stage):
            _say(f"{manifest.name}: {one.engine}, {one.artefact}")
            row = engine_row(one, asked, sizes, options.seconds)
            rows.append(row.model_copy(update={"left_out": _portable(row.left_out)}))
    return ModelFigures(
        name=manifest.name,
        task=manifest.task,
        digest=manifest.digest,
        inputs=", ".join(map(str, manifest.inputs)),
        rows=tuple(rows),
        served=_served(bundle, stage, options),
    )


def _served(bundle: Bundle, stage: Stage, options: Options) -> Served:
    if "served" not in options.parts:
        return Served(left_out="not asked for")
    _say(f"{bundle.manifest.name}: the service")
    found = served(bundle, stage, Drive(options.connections, options.seconds, options.flags))
    return found.model_copy(update={"left_out": _portable(found.left_out)})


def _portable(text: str) -> str:
    """Without this machine's folders: the file is committed."""
    return text.replace(f"{Path.cwd()}/", "").replace(f"{ROOT}/", "")


def _driver(device: DeviceInfo) -> str:
    if device.kind == "cpu":
        return "none"
    import pynvml  # there is none to ask where there is no GPU

    pynvml.nvmlInit()
    return str(pynvml.nvmlSystemGetDriverVersion())


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def print_results(results: GpuResults) -> None:
    """To standard output: a line a row."""
    print(f"{results.device}, driver {results.driver}; {results.machine}")
    for model in results.models:
        print(f"\n{model.name} ({model.inputs})")
        for row in model.rows:
            paces = "  ".join(
                f"b{one.batch_size} {one.rows_per_second:.4g}/s {one.p50_ms:.3g}/{one.p99_ms:.3g} ms"
                for one in row.paces
            )
            print(f"  {row.engine:<14} {row.precision:<8} {paces or f'not measured: {row.left_out}'}")
        _print_served(model.served)


def _print_served(one: Served) -> None:
    if one.left_out:
        print(f"  not served: {one.left_out}")
        return
    print(f"  the service, '{one.artefact}' in {one.runtime}; the engine alone {one.own_rows_per_second:.4g}/s")
    for row in one.http:
        wrong = f"  WRONG {row.wrong}" if row.wrong else ""
        print(
            f"    {row.sent:<16} {row.connections:>4} connections {row.rows_per_second:.4g}/s "
            f"{row.p50_ms:.3g}/{row.p99_ms:.3g} ms  {row.rows_per_second / one.own_rows_per_second:.2f}{wrong}"
        )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(gpu_bench(tyro.cli(Options, prog="python -m loadtests.gpu_bench")))
