"""`python -m loadtests.capacity plan|measure|simulate`: pods for N requests a second."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import tyro

from bundle.errors import BadInput, ModelyardError
from loadtests.capacity import formula
from loadtests.capacity.figures import BUSY, CAPACITY_FILE, Capacity, Model, read_capacity, write_capacity
from loadtests.capacity.formula import Wanted
from loadtests.capacity.growths import growths
from loadtests.capacity.hpa_file import HPA_FILE, read_hpa
from loadtests.capacity.needs import needs

VERSIONS = ("onnxruntime", "locust", "uvicorn")


def plan(
    model: str, wanted: tyro.conf.OmitArgPrefixes[Wanted], results: Path = CAPACITY_FILE, faster: float = 1.0
) -> None:
    """Print how many pods of one processor each it takes, with every step of the calculation.

    Args:
        model: name of a model that was measured
        wanted: what is asked
        results: what `make capacity` wrote
        faster: a processor of yours over one of the machine that was measured, by the engine's own rate
    """
    if not 0 < faster < float("inf"):
        raise BadInput(f"--faster is {faster:g}; expected more than 0")
    capacity = read_capacity(results)
    found = formula.plan(_scaled(capacity.model(model), faster), wanted)
    print(f"measured on {capacity.machine}" + (f"; yours is taken as {faster:g} times as fast" if faster != 1 else ""))
    for number, step in enumerate(found.steps, 1):
        print(f"  {number}. {step}")
    needed = found.model
    print(f"memory: {found.pods} x {needed.memory_mib:.0f} MiB = {found.pods * needed.memory_mib / 1024:.1f} GiB")
    rate = found.pod_rate * found.utilisation
    print(f"HPA: minReplicas {found.pods}, and as averageValue, of a pod:")
    print(f"  requests a second       {found.rate_target:g}")
    print(
        f"  modelyard_in_flight     {found.in_flight_target:g} (Little: {rate:.4g}/s x "
        f"{formula.median_ms(needed, rate):.3g} ms)"
    )
    print(f"  modelyard_queue_depth   {found.queue_target:g} (a quarter of the limit)")
    if needed.here:
        print(
            f"'{model}' runs on the event loop, where in_flight and queue_depth jump from scrape to scrape and say "
            "little below saturation: let the HPA follow requests a second"
        )


def measure(models: tyro.conf.Positional[tuple[Path, ...]], /, results: Path = CAPACITY_FILE) -> None:
    """Measure each model in one pod on one processor; about a minute each, on a machine that does nothing else.

    Args:
        models: folders of models, <repository>/<name>
        results: where the figures go; what was simulated before stays out of it
    """
    from loadtests.capacity.measure import measure_model, say, subject
    from loadtests.capacity.one_processor import two_processors
    from training.results import this_machine

    if not models:
        raise BadInput("no models to measure; name their folders, <repository>/<name>")
    apart = two_processors()
    subjects = [subject(folder) for folder in models]
    load = os.getloadavg()[0]
    if load > BUSY:
        say(f"the machine is busy (load {load:.2f}): figures of a quiet one will be better")
    start = time.perf_counter()
    found: list[Model] = []
    for one in subjects:
        found.append(measure_model(one, apart))
        say(f"{one.bundle.manifest.name}: {_told(found[-1])}")
    versions = {"Python": platform.python_version()} | {name: version(name) for name in VERSIONS}
    seconds = time.perf_counter() - start
    write_capacity(
        results,
        Capacity(
            machine=this_machine(),
            versions=versions,
            commit=_commit(),
            seconds=round(seconds, 1),
            load=round(load, 2),
            cpus=os.cpu_count() or 1,
            models=tuple(found),
        ),
    )
    print(results)


def simulate(results: Path = CAPACITY_FILE, hpa: Path = HPA_FILE, models: tuple[str, ...] = ()) -> None:
    """Hold the formula against the simulation, with the pods that were measured; some minutes, the same at each run.

    Args:
        results: read, and written again with what was simulated
        hpa: manifest whose numbers are tried beside those of the formula
        models: names; left out: of the measured ones with batches of one and with larger ones, the slowest each
    """
    capacity, manifest = read_capacity(results), read_hpa(hpa)
    chosen = [capacity.model(name) for name in models] or _telling(capacity.models)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    tried = [need for model in chosen for need in needs(model, say)]
    grown = [growth for model in chosen[:1] for growth in growths(model, manifest, say)]
    write_capacity(results, capacity.model_copy(update={"needs": tuple(tried), "growths": tuple(grown)}))
    print(results)


def _telling(models: tuple[Model, ...]) -> list[Model]:
    """One that runs alone and one that runs in batches: what differs most in a queue."""
    queued = [model for model in models if not model.here]
    kinds: list[Callable[[Model], bool]] = [lambda one: one.largest_batch == 1, lambda one: one.largest_batch > 1]
    found = [[model for model in queued if fits(model)] for fits in kinds]
    return [max(some, key=lambda model: model.alone_ms) for some in found if some]


def _scaled(model: Model, faster: float) -> Model:
    """As on a machine that takes `1 / faster` of the time for everything."""
    if faster == 1:
        return model
    steps = [
        step.model_copy(
            update={
                "asked_per_second": step.asked_per_second * faster,
                "p50_ms": step.p50_ms / faster,
                "p99_ms": step.p99_ms / faster,
            }
        )
        for step in model.steps
    ]
    return model.model_copy(
        update={
            "limit_ms": model.limit_ms / faster,
            "alone_ms": model.alone_ms / faster,
            "saturated_per_second": model.saturated_per_second * faster,
            "steps": tuple(steps),
        }
    )


def _told(model: Model) -> str:
    rate = model.rate_within(model.limit_ms)
    within = f"{rate:.4g}/s" if rate is not None else "no rate that was tried"
    return f"p99 within {model.limit_ms:g} ms up to {within}; at most {model.saturated_per_second:.4g}/s"


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def main() -> int:
    """Run a subcommand; what its user got wrong is one line."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            {"plan": plan, "measure": measure, "simulate": simulate}, prog="python -m loadtests.capacity"
        )
    except (ModelyardError, RuntimeError) as cause:  # the latter: a server or a load generator that ended
        print(cause, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
