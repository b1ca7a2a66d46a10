"""The command line of tuning: `modelyard tune`. Needs no torch; matplotlib only for `--png`."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from bundle.device import DeviceKind
from bundle.store import open_newest
from bundle.tuning import Tuning, write_tuning
from export.say import say
from export.tune import Ask, tune
from export.tune_report import afterwards, report
from runtime.runtime import Placement

NOTHING_HOLDS = 3
"""Exit code: the nearest setting was written, but none holds the limit."""


def tune_command(arguments: list[str]) -> None:
    """`modelyard tune BUNDLE --p99-ms 50 [...]`."""
    tyro.cli(_tune, prog="modelyard tune", args=arguments)


def _tune(
    bundle: tyro.conf.Positional[Path],
    /,
    p99_ms: float,
    device: DeviceKind = "cpu",
    gpu: int = 0,
    cuda_graphs: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    seconds_per_point: float = 1.0,
    batch_sizes: tuple[int, ...] = (),
    instances: tuple[int, ...] = (),
    runtimes: tuple[str, ...] = (),
    artefacts: tuple[str, ...] = (),
    engines: Path | None = None,
    png: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
) -> None:
    """Measure batch size x instances x artefact on this device, choose, and write what the service reads.

    Chosen is the highest throughput at which 99 of 100 requests are answered within the limit. Exit code 3: none holds
    it, and the nearest is chosen. The last line printed is the file that was written.

    Args:
        bundle: folder of a bundle, <repository>/<name>/<version>; without the version, the newest
        p99_ms: milliseconds that a request may take, queueing for one batch and its own, without preparing it
        device: where to measure; one that is not there is refused
        gpu: which GPU, as CUDA numbers them
        cuda_graphs: measure with CUDA graphs, as `modelyard serve --cuda-graphs` runs
        seconds_per_point: how long each setting is driven, once its engine is warm
        batch_sizes: which to try; 1, 2, 4, ... up to the largest that is proven, if none are given
        instances: batches at once to try; 1, 2, 4, ... processors on a CPU, 1, 2 and 4 on a GPU, if none are given
        runtimes: engines to try; all, if none are given
        artefacts: artefacts to try; all that are proven on the device, if none are given
        engines: folder of engines, proofs and tunings outside of the bundle, as `modelyard serve --engines` names it
        png: also draw throughput against p99 into this file
    """
    opened = open_newest(bundle)
    ask = Ask(p99_ms, seconds_per_point, batch_sizes, instances, runtimes, artefacts, engines, cuda_graphs)
    done = tune(opened, Placement(device, gpu), ask, tell=_tell)
    path = write_tuning(opened, done.tuning, engines)
    print(report(opened.manifest, done.tuning))
    for line in done.left_out:
        print(f"not measured: {line}")
    print(afterwards(engines))
    if png is not None:
        print(_draw(png, done.tuning, opened.manifest.name))
    print(path)
    if not done.tuning.holds:
        sys.exit(NOTHING_HOLDS)


def _tell(line: str) -> None:
    say(f"tune: {line}")


def _draw(path: Path, tuning: Tuning, name: str) -> str:
    try:
        from export.tune_picture import draw_tuning
    except ModuleNotFoundError as cause:
        return f"{path} was left out: module '{cause.name}' is not installed; pip install 'modelyard[tune]'"
    draw_tuning(path, tuning, name)
    return f"drawn: {path}"
