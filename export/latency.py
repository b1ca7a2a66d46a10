"""Milliseconds a batch for several artefacts, measured turn by turn so that a noisy machine is noisy for all of them.

Knows loaded engines. Knows nothing of what they compute.
"""

import time
from statistics import median

from bundle.evidence import Latency
from bundle.tensors import Tensors, group_alike, stack
from runtime.runtime import Runtime

LATENCY_BATCHES = (1, 8, 32)
"""Batch sizes that are measured, up to the largest that is proven."""
WARM_UP_RUNS = 3
MIN_RUNS = 15
BUDGET_S = 1.0
"""Per batch size and for all artefacts together, once the fewest runs are done."""


def measure(
    runtimes: dict[str, Runtime],
    rows: list[Tensors],
    batch_sizes: list[int],
    threads: int = 1,
    min_runs: int | None = None,
    budget_s: float | None = None,
) -> dict[str, Latency]:
    """Median milliseconds by artefact and batch size; the commonest shape of `rows` fills a batch.

    `threads` is what the engines were loaded with, to be told beside the figures. Fewer runs than usual are enough
    where nothing is decided by them.
    """
    min_runs = MIN_RUNS if min_runs is None else min_runs
    budget_s = BUDGET_S if budget_s is None else budget_s
    alike = max(group_alike(rows), key=len)
    table: dict[str, dict[int, float]] = {name: {} for name in runtimes}
    for size in batch_sizes:
        batch = stack([rows[alike[i % len(alike)]] for i in range(size)])
        times: dict[str, list[float]] = {name: [] for name in runtimes}
        for runtime in runtimes.values():
            for _ in range(WARM_UP_RUNS):
                runtime.run(batch)
        end = time.perf_counter() + budget_s
        while len(next(iter(times.values()))) < min_runs or time.perf_counter() < end:
            for name, runtime in runtimes.items():
                start = time.perf_counter()
                runtime.run(batch)
                times[name].append((time.perf_counter() - start) * 1e3)
        for name, values in times.items():
            table[name][size] = float(f"{median(values):.4g}")
    return {name: Latency(threads=threads, median_ms=by_size) for name, by_size in table.items()}
