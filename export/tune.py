"""Measure a bundle on the present device at every setting, and choose the one for a limit of p99.

Only what is proven on this device is measured, and each engine gives its golden answers before it is. Settings take
turns, in several rounds of another order each, so that a noisy machine is noisy for all of them.

A request that has just missed a batch waits until that one is done and runs in the next: its p99 is twice that of a
batch. This holds as long as the queue is not longer than a batch, that is below the throughput that is measured here.
Reading, preparing and answering a request are not in it.

Runs on the machine that serves: needs no torch. Knows candidates, engines and figures. Knows nothing of HTTP.
"""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter

from bundle.device import DeviceInfo
from bundle.errors import BadInput, DeviceLost, ModelyardError, RuntimeFailed
from bundle.preprocess import TextTokens
from bundle.store import Bundle
from bundle.tensors import Tensors, group_alike
from bundle.tuning import Point, Tuning, best_point
from export.tune_grid import Layout, batch_sizes, layouts
from export.tune_load import ROUNDS, Clock, Load, Timed, in_turns
from runtime.choice import Choice, Wanted, candidates
from runtime.devices import device_info, installed_version
from runtime.predictor import Predictor, load_choice
from runtime.replay import replay
from runtime.runtime import RUNTIMES, Placement

WAITS_P50, WAITS_P99 = 0.5, 1.0
"""Batches that run before a request's own: the half of one that is left on average, or all of one just missed."""


@dataclass(frozen=True)
class Ask:
    """What is asked for; what is left empty is everything."""

    p99_ms: float
    seconds_per_point: float = 1.0
    batch_sizes: tuple[int, ...] = ()
    instances: tuple[int, ...] = ()
    runtimes: tuple[str, ...] = ()
    artefacts: tuple[str, ...] = ()
    engines: Path | None = None
    cuda_graphs: bool = False


@dataclass(frozen=True)
class Setting:
    """One point to be measured: an engine that is loaded, and how it is driven."""

    choice: Choice
    layout: Layout
    batch_size: int
    predictor: Predictor

    def load(self, rows: list[Tensors]) -> Load:
        """Full batches of these rows, by as many callers as there are instances."""
        batch = [rows[i % len(rows)] for i in range(self.batch_size)]
        return Load(partial(self.predictor.run_batch, batch), self.layout.instances)

    def point(self, timed: Timed) -> Point:
        """Its figures."""
        p50, p99 = timed.quantile_ms(0.5), timed.quantile_ms(0.99)
        return Point(
            artefact=self.choice.artefact,
            runtime=self.choice.runtime,
            batch_size=self.batch_size,
            instances=self.layout.instances,
            threads=self.layout.threads,
            rows_per_s=_rounded(timed.median_per_s() * self.batch_size),
            batch_p50_ms=_rounded(p50),
            batch_p99_ms=_rounded(p99),
            request_p50_ms=_rounded(p50 * (1 + WAITS_P50)),
            request_p99_ms=_rounded(p99 * (1 + WAITS_P99)),
            num_batches=len(timed.batches_ms),
        )

    def __str__(self) -> str:
        where = f"'{self.choice.artefact}' in {self.choice.runtime}"
        return f"{where}, batches of {self.batch_size}, {self.layout.instances} at once"


@dataclass(frozen=True)
class Tuned:
    """The outcome: what is written, and what was not measured, a line each."""

    tuning: Tuning
    left_out: list[str]


def tune(
    bundle: Bundle,
    placement: Placement,
    ask: Ask,
    tell: Callable[[str], None] = lambda _: None,
    clock: Clock = perf_counter,
) -> Tuned:
    """Measure and choose; `tell` hears of the progress, a line each time.

    Raises:
        BadInput: something was asked for that cannot be. RuntimeFailed: no such device, or nothing runs on it.
    """
    _check(bundle, placement, ask)
    device = device_info(placement)
    circumstances = _measured_with(ask)
    sizes = batch_sizes(ask.batch_sizes, bundle.manifest.max_batch_size)
    ways = layouts(ask.instances, device)
    found, left_out = _candidates(bundle, device, ask)
    where = _on_gpu(placement, ways, sizes, ask) if device.kind == "cuda" else placement
    settings = _load_all(bundle, where, found, ways, sizes, tell, left_out)
    rows = rows_to_measure(bundle)
    loads = [setting.load(rows) for setting in settings]
    timed = in_turns(loads, ask.seconds_per_point, lambda one: _may_hold(one, ask.p99_ms), tell, clock)
    pairs = list(zip(settings, timed, strict=True))
    left_out += [f"{setting}: {times.problem}" for setting, times in pairs if times.problem]
    points = tuple(setting.point(times) for setting, times in pairs if not times.problem)
    if not points:
        raise RuntimeFailed(f"{bundle.folder}: nothing could be measured on {device}: {'; '.join(left_out)}")
    tuning = Tuning(
        bundle_digest=bundle.manifest.digest,
        device=device,
        runtimes={point.runtime: installed_version(point.runtime) or "" for point in points},
        p99_ms=ask.p99_ms,
        row_shapes={name: array.shape for name, array in rows[0].items()},
        points=points,
        chosen=best_point(points, ask.p99_ms),
        measured_with=circumstances,
    )
    return Tuned(tuning, left_out)


def _may_hold(timed: Timed, p99_ms: float) -> bool:
    """Whether more rounds could matter: not where even the quickest batch, with no wait before it, is over."""
    return min(timed.batches_ms) <= p99_ms


def _check(bundle: Bundle, placement: Placement, ask: Ask) -> None:
    if not 0 < ask.p99_ms < float("inf"):
        raise BadInput(f"--p99-ms {ask.p99_ms:g}: expected the milliseconds that a request may take, more than 0")
    if ask.cuda_graphs and placement.device == "cpu":
        raise BadInput("--cuda-graphs: only with --device cuda")
    if not 0 < ask.seconds_per_point < float("inf"):
        raise BadInput(f"--seconds-per-point {ask.seconds_per_point:g}: expected seconds, more than 0")
    for flag, asked, known in (
        ("--artefacts", ask.artefacts, bundle.manifest.artefacts),
        ("--runtimes", ask.runtimes, RUNTIMES),
    ):
        for name in asked:
            if name not in known:
                raise BadInput(f"{flag} {name}: expected some of {', '.join(known)}")


def _candidates(bundle: Bundle, device: DeviceInfo, ask: Ask) -> tuple[list[Choice], list[str]]:
    """What is proven here and asked for, and what is amiss with what else lies there.

    Raises:
        BadInput: nothing is.
    """
    there, amiss = candidates(bundle, device, Wanted(engines=ask.engines), installed_version)
    found = [
        one
        for one in there
        if (not ask.artefacts or one.artefact in ask.artefacts) and (not ask.runtimes or one.runtime in ask.runtimes)
    ]
    if not found:
        listed = ", ".join(f"'{one.artefact}' in {one.runtime}" for one in there) or "nothing"
        asked = ", ".join((*ask.artefacts, *ask.runtimes)) or "anything"
        raise BadInput("; ".join([f"{bundle.folder}: asked for {asked}; proven on {device} is {listed}", *amiss]))
    return found, amiss


def rows_to_measure(bundle: Bundle) -> list[Tensors]:
    """Golden rows of one shape: of pictures and series the commonest, of texts the longest, which cost most."""
    rows = [sample.inputs for sample in bundle.golden()]
    groups = group_alike(rows)
    if isinstance(bundle.manifest.preprocess, TextTokens):
        alike = max(groups, key=lambda group: sum(array.size for array in rows[group[0]].values()))
    else:
        alike = max(groups, key=len)
    return [rows[i] for i in alike]


def _on_gpu(placement: Placement, ways: list[Layout], sizes: list[int], ask: Ask) -> Placement:
    """One engine has the slots of the largest number of instances; fewer callers leave some of them empty."""
    slots = max(way.instances for way in ways)
    return replace(placement, slots=slots, graph_batches=tuple(sizes) if ask.cuda_graphs else ())


def _load_all(
    bundle: Bundle,
    placement: Placement,
    found: list[Choice],
    ways: list[Layout],
    sizes: list[int],
    tell: Callable[[str], None],
    left_out: list[str],
) -> list[Setting]:
    """Every setting of every candidate that loads and gives its golden answers; what does not is told in `left_out`."""
    settings: list[Setting] = []
    for choice in found:
        tell(f"loading '{choice.artefact}' in {choice.runtime}, and replaying its golden samples")
        try:
            settings += _load(bundle, placement, choice, ways, sizes)
        except DeviceLost:
            raise
        except ModelyardError as cause:
            left_out.append(f"'{choice.artefact}' in {choice.runtime}: {cause}")
    return settings


def _load(bundle: Bundle, placement: Placement, choice: Choice, ways: list[Layout], sizes: list[int]) -> list[Setting]:
    """Load an artefact, once for each number of processors, and hold it to its golden answers."""
    loaded: dict[int, Predictor] = {}
    for threads in sorted({way.threads for way in ways}):
        loaded[threads] = load_choice(bundle, choice, replace(placement, threads=threads))
        replay(loaded[threads], bundle.golden(), choice.atol, max(sizes), num_alone=1)
    return [Setting(choice, way, size, loaded[way.threads]) for way in ways for size in sizes]


def _rounded(figure: float) -> float:
    return float(f"{figure:.4g}")


def _measured_with(ask: Ask) -> dict[str, str]:
    """The circumstances, before anything runs."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "seconds_per_point": f"{ask.seconds_per_point:g}",
        "rounds": str(ROUNDS),
        "cuda_graphs": "yes" if ask.cuda_graphs else "no",
        "load_average": f"{os.getloadavg()[0]:.2f}",
    }
