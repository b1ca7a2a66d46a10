"""`make bench`: the service against a bare Predictor, on the same cores, in one run; answers are checked under load.

(b) is decode + prepare + run + answer in a plain thread pool, without HTTP: what the processors can do. The figure
that matters is the ratio; the client shares the cores with the service, so it is a lower bound.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import tyro

from bundle.store import Bundle, newest, open_bundle
from loadtests.client import Load, Request, drive, post
from loadtests.server import service
from runtime.cpus import available_cpus
from runtime.predictor import Predictor, load_predictor
from serving.endpoints import ENDPOINTS

CONNECTIONS = (1, 8, 32)
WARM_UP_S = 0.5


def bench(model: tyro.conf.Positional[Path], /, json_file: Path | None = None, seconds: float = 3.0) -> int:
    """Measure one model of a repository.

    Args:
        model: folder of a model, <repository>/<name>; its newest version is measured
        json_file: where to write the figures as JSON
        seconds: how long each load runs
    """
    bundle = open_bundle(newest(model))
    predictor = load_predictor(bundle)
    ceilings = {threads: ceiling(predictor, bundle, threads, seconds) for threads in {1, available_cpus()}}
    requests = golden_requests(bundle, predictor)
    rows = []
    with service(model.parent) as port:
        for connections in CONNECTIONS:
            drive("127.0.0.1", port, requests, connections, WARM_UP_S)
            load = drive("127.0.0.1", port, requests, connections, seconds)
            rows.append(_row(load, ceilings[1] if connections == 1 else max(ceilings.values())))
    report = {"model": str(model), "cpus": available_cpus(), "ceiling_per_second": ceilings, "loads": rows}
    _print(report)
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 1 if any(row["wrong"] for row in rows) else 0


def ceiling(predictor: Predictor, bundle: Bundle, threads: int, seconds: float) -> float:
    """(b): answers a second of a plain thread pool, encoded as the service would, without HTTP."""
    raws = [sample.raw for sample in bundle.golden()]
    end = time.perf_counter() + seconds

    def work(first: int) -> int:
        turn = first
        while time.perf_counter() < end:
            msgspec.json.encode(predictor.predict([raws[turn % len(raws)]]))
            turn += 1
        return turn - first

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, range(threads))) / seconds


def golden_requests(bundle: Bundle, predictor: Predictor) -> list[Request]:
    """The golden inputs as requests, each with the body that the same artefact gives in this process."""
    name, version = bundle.manifest.name, bundle.manifest.version
    path = f"{ENDPOINTS[bundle.manifest.task].path}?model={name}"
    requests = []
    for sample in bundle.golden():
        answer = {"model": name, "version": version, "predictions": predictor.predict([sample.raw])}
        requests.append(post("127.0.0.1", path, sample.media_type, sample.raw, msgspec.json.encode(answer)))
    return requests


def _row(load: Load, ceiling_per_second: float) -> dict[str, float | int]:
    for answer in load.wrong[:3]:
        print(f"wrong answer: {answer}", file=sys.stderr)
    return {
        "connections": load.connections,
        "per_second": round(load.per_second, 1),
        "of_ceiling": round(load.per_second / ceiling_per_second, 3),
        "p50_ms": round(load.p50_ms, 3),
        "p99_ms": round(load.p99_ms, 3),
        "wrong": len(load.wrong),
    }


def _print(report: dict[str, Any]) -> None:
    for threads, rate in sorted(report["ceiling_per_second"].items()):
        print(f"(b) no HTTP, {threads} thread(s): {rate:9.0f} answers/s")
    print(f"{'connections':>11} {'answers/s':>10} {'of (b)':>7} {'p50 ms':>8} {'p99 ms':>8} {'wrong':>6}")
    for row in report["loads"]:
        print(
            f"{row['connections']:>11} {row['per_second']:>10.0f} {row['of_ceiling']:>7.2f} "
            f"{row['p50_ms']:>8.2f} {row['p99_ms']:>8.2f} {row['wrong']:>6}"
        )


if __name__ == "__main__":
    sys.exit(tyro.cli(bench, prog="python -m loadtests.bench"))
