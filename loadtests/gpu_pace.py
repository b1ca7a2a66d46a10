"""Check an engine against the golden outputs, then time it: a fast wrong engine is no row.

Knows a loaded engine and golden samples. Knows nothing of which engine it is.
"""

import gc
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np

from bundle.errors import ModelyardError, ParityError
from bundle.golden import Golden
from bundle.store import Bundle
from bundle.tensors import Tensors, group_alike, stack, unstack
from loadtests.gpu_contestants import Contestant, loaded, missing
from runtime.predictor import join
from runtime.runtime import Runtime
from training.gpu_results import EngineRow, Pace

WARM_UP_RUNS = 3
MIN_RUNS = 20


@dataclass(frozen=True)
class Questions:
    """Golden samples of one shape, the commonest, which fill every batch."""

    bundle: Bundle
    samples: tuple[Golden, ...]

    def cycled(self, batch_size: int) -> list[Golden]:
        """So many of them, from the beginning again where there are fewer."""
        return list(islice(cycle(self.samples), batch_size))

    def batch(self, batch_size: int) -> Tensors:
        """Their rows as a batch."""
        return stack([sample.inputs for sample in self.cycled(batch_size)])


def golden_questions(bundle: Bundle) -> Questions:
    """Of one bundle."""
    samples = bundle.golden()
    alike = max(group_alike([sample.inputs for sample in samples]), key=len)
    return Questions(bundle, tuple(samples[i] for i in alike))


def engine_row(contestant: Contestant, asked: Questions, batch_sizes: Sequence[int], seconds: float) -> EngineRow:
    """Load, check at every batch size, time at every batch size."""
    precision = contestant.artefact
    row = EngineRow(engine=contestant.engine, precision=precision, how=contestant.how)
    artefact = asked.bundle.manifest.artefacts.get(precision)
    if artefact is None:
        return row.model_copy(update={"left_out": missing(asked.bundle, precision)})
    runtime, why_not = loaded(contestant)
    if runtime is None:
        return row.model_copy(update={"left_out": why_not})
    try:
        errors = [largest_error(runtime, asked, size, artefact.atol) for size in batch_sizes]
        paces = tuple(pace(runtime, asked.batch(size), seconds) for size in batch_sizes)
    except ModelyardError as cause:
        return row.model_copy(update={"left_out": str(cause)})
    finally:
        del runtime
        gc.collect()  # a GPU's memory goes with the last reference
    return row.model_copy(update={"max_error": max(errors), "limit": artefact.atol, "paces": paces})


def largest_error(runtime: Runtime, asked: Questions, batch_size: int, atol: float) -> float:
    """Over the rows of one batch of golden inputs, and their answers must agree too.

    Raises:
        ParityError: over the limit, or another answer. RuntimeFailed: the engine broke.
    """
    predictor = join(asked.bundle, runtime)
    task, options, largest = predictor.task, predictor.task.golden_options(), 0.0
    rows = unstack(runtime.run(asked.batch(batch_size)))
    for i, (sample, row) in enumerate(zip(asked.cycled(batch_size), rows, strict=True)):
        where = f"golden sample {i % len(asked.samples)} in a batch of {batch_size}"
        for name, error in task.differences(sample.outputs, row).items():
            if not error <= atol:
                raise ParityError(f"{where}: output '{name}': error {error:.3g} is over the limit {atol:.3g}")
            largest = max(largest, error)
        if i < len(asked.samples):
            differs = task.agree(sample.answer, predictor.decode(row, predictor.prepare(sample.raw), options), atol)
            if differs:
                raise ParityError(f"{where}: the answer differs: {differs}")
    return largest


def pace(runtime: Runtime, batch: Tensors, seconds: float) -> Pace:
    """One caller, one batch after the other."""
    for _ in range(WARM_UP_RUNS):
        runtime.run(batch)
    took = _turns(runtime, batch, seconds)
    size = len(next(iter(batch.values())))
    p50, p99 = np.percentile(took, [50, 99]) * 1e3
    return Pace(
        batch_size=size,
        rows_per_second=_digits(size * len(took) / sum(took)),
        p50_ms=_digits(p50),
        p99_ms=_digits(p99),
        num_runs=len(took),
    )


def rate(runtimes: Sequence[Runtime], batch: Tensors, seconds: float) -> float:
    """Rows a second of several callers at once, each with its own runtime or all with the same."""
    for runtime in runtimes:
        runtime.run(batch)
    size = len(next(iter(batch.values())))
    began = time.perf_counter()
    with ThreadPoolExecutor(len(runtimes)) as pool:
        runs = sum(len(took) for took in pool.map(lambda one: _turns(one, batch, seconds), runtimes))
    return _digits(size * runs / (time.perf_counter() - began))


def _turns(runtime: Runtime, batch: Tensors, seconds: float) -> list[float]:
    took: list[float] = []
    before = began = time.perf_counter()
    while len(took) < MIN_RUNS or before - began < seconds:
        runtime.run(batch)
        now = time.perf_counter()
        took.append(now - before)
        before = now
    return took


def _digits(value: float, number: int = 4) -> float:
    return round(value, number - 1 - math.floor(math.log10(value)))
