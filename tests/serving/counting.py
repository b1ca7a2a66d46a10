"""A process that counts as a worker does: run by test_metrics_multiprocess.py with PROMETHEUS_MULTIPROC_DIR set.

Reads orders from standard input, a line each, and answers each with a line.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path

from prometheus_client.values import close_all_multiprocess_files

from bundle.device import DeviceInfo
from runtime.choice import Choice
from serving.observing.metrics import MULTIPROCESS, Metrics
from serving.observing.statistics import statistics
from tests.serving.figures import Queue


async def obey() -> None:
    assert MULTIPROCESS
    metrics = Metrics()
    metrics.start()
    model, queue = metrics.model("m", 1), Queue()
    model.join(queue)

    def answer(rows: str) -> object:
        model.answered({"queue": 0.001, "compute": 0.002}, int(rows), 0.004)
        model.batch(int(rows), 0.002)
        metrics.count_request("/v1/classify", 200, 0.004)
        return "done"

    def hold(depth: str) -> object:
        queue.queue_depth = int(depth)
        return "done"

    def ready(whether: str) -> object:
        metrics.model_ready("m", 1, whether == "yes")
        return "done"

    def runs(artefact: str) -> object:
        device = DeviceInfo(kind="cuda", name="gpu")
        fell_back = "why" if artefact == "fp32" else ""
        metrics.model_runs("m", 1, Choice(artefact, "p", "r", Path("f"), 0.0, device, None, fell_back=fell_back))
        return "done"

    def forget(version: str) -> object:
        model.leave(queue)
        metrics.forget("m", int(version))
        return "done"

    orders: dict[str, Callable[[str], object]] = {
        "answer": answer,
        "hold": hold,
        "ready": ready,
        "runs": runs,
        "forget": forget,
        "show": lambda _: metrics.exposition()[0].decode(),
        "statistics": lambda _: statistics(metrics, [("m", 1)]),
    }
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order, _, argument = line.strip().partition(" ")
        print(json.dumps(orders[order](argument)), flush=True)
    metrics.stop()
    close_all_multiprocess_files()


if __name__ == "__main__":
    asyncio.run(obey())
