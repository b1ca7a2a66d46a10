"""What the service counts and times, for Prometheus: cheap calls on the event loop's thread, pushed on when it matters.

One process has a registry of its own and pushes when it is scraped. Where several serve one port,
PROMETHEUS_MULTIPROC_DIR was set before prometheus_client was imported: then each also pushes every 100 ms into files
there, and whichever is scraped adds up all of them. Knows prometheus_client. Knows nothing of what happens in a phase.
"""

import asyncio
import os
import time
from bisect import bisect_left
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import get_args

from prometheus_client import CollectorRegistry, Metric, disable_created_metrics, values
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from runtime.choice import Choice
from serving.observing.families import SECONDS, Families, Mode
from serving.observing.gpu_metrics import gpu_figures
from serving.observing.logs import lines_lost
from serving.observing.model_metrics import ModelMetrics
from serving.observing.nv_metrics import nv_families
from serving.observing.process_metrics import process_figures
from serving.observing.reserved import reserve, use_reserved
from serving.observing.tallies import Tally

use_reserved()
disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for every counter, which nothing here reads

__all__ = ["MULTIPROCESS", "Metrics", "ModelMetrics"]

PUSH_S = 0.1
MULTIPROCESS = bool(getattr(values.ValueClass, "_multiprocess", False))
"""Whether several processes share their figures: prometheus_client decides it when it is imported."""


class Metrics:
    """The service's figures."""

    def __init__(self, nv_metrics: bool = False) -> None:
        if MULTIPROCESS:
            gauges = (f"gauge_{mode}" for mode in get_args(Mode))
            reserve(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]), ("counter", "histogram", *gauges))
        self._registry = CollectorRegistry()
        self.families = Families(self._registry)
        self._source: Collector = self._registry
        if MULTIPROCESS:
            self._source = SharedFiles(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
        self._nv_metrics = nv_metrics
        self._models: dict[tuple[str, int], ModelMetrics] = {}
        self._requests: dict[tuple[str, int], int] = {}
        self._seconds: dict[str, Tally] = {}
        self._exemplars: dict[str, dict[int, Exemplar]] = {}  # route -> bucket -> the newest
        self._runs: dict[tuple[str, int], tuple[str, ...]] = {}  # what was told of a version last
        self._gauges: dict[str, tuple[int, int, int]] = {}  # model -> what was pushed last
        self._lines_lost = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writing: dict[str, asyncio.Task[tuple[bytes, str]]] = {}  # Accept header -> a scrape under way

    def model(self, name: str, version: int) -> ModelMetrics:
        """The figures of one version, the same object every time."""
        key = (name, version)
        if key not in self._models:
            self._models[key] = ModelMetrics(self.families, name, version)
        return self._models[key]

    def forget(self, name: str, version: int) -> None:
        """A version is gone: what is known of it alone goes too, so that reloads do not pile up series.

        Figures of the model stay; and the version's own where it was loaded again, which another queue of it shows.
        Where several processes share their figures, prometheus_client cannot take series away: there the version's
        stay, as not ready.
        """
        gone = self._models.get((name, version))
        if gone is not None:
            if gone.queues:
                return
            del self._models[name, version]
            gone.push()
        self.model_ready(name, version, ready=False)
        self._runs_no_more(name, version)
        self.families.engine_fallback.labels(name, str(version)).set(0)
        if not MULTIPROCESS:
            self.families.remove_version(name, version)

    def forget_drift(self, model: str) -> None:
        """Nobody watches a model any more: its figures of drift go, where they can."""
        if not MULTIPROCESS:
            self.families.remove_drift(model)

    def count_request(self, route: str, code: int, seconds: float, trace_id: str = "") -> None:
        """Count one answered request, by route template; `trace_id` becomes the exemplar of its duration."""
        key = (route, code)
        self._requests[key] = self._requests.get(key, 0) + 1
        tally = self._seconds.get(route)
        if tally is None:
            tally = self._seconds[route] = Tally(SECONDS)
        tally.add(seconds)
        if trace_id:
            newest = Exemplar({"trace_id": trace_id}, seconds, time.time())
            self._exemplars.setdefault(route, {})[bisect_left(SECONDS, seconds)] = newest

    def model_ready(self, model: str, version: int, ready: bool) -> None:
        """Record whether a version answers."""
        self.families.ready.labels(model, str(version)).set(ready)

    def model_runs(self, model: str, version: int, choice: Choice) -> None:
        """Record what a version runs as, and whether that is a fallback."""
        self._runs_no_more(model, version)
        told = (choice.runtime, choice.artefact, choice.precision, choice.device.name)
        self._runs[model, version] = told
        self.families.model_info.labels(model, str(version), *told).set(1)
        self.families.engine_fallback.labels(model, str(version)).set(bool(choice.fell_back))

    def _runs_no_more(self, model: str, version: int) -> None:
        told = self._runs.pop((model, version), None)
        if told is None:
            return
        self.families.model_info.labels(model, str(version), *told).set(0)
        if not MULTIPROCESS:
            self.families.model_info.remove(model, str(version), *told)

    def repository_readable(self, readable: bool) -> None:
        """Record whether the last look at the model repository could read it."""
        self.families.repository_readable.set(readable)

    def load_failure(self, model: str) -> None:
        """A version was refused when it was loaded."""
        self.families.load_failures.labels(model).inc()

    def start(self) -> None:
        """Tell what runs, and push every 100 ms from now on, where other processes read it; call it on the loop."""
        self.families.build_info.labels(version("modelyard")).set(1)
        if MULTIPROCESS:
            self._tick_later()

    def stop(self) -> None:
        """Push what is left."""
        if self._timer is not None:
            self._timer.cancel()
        self.push()

    def _tick(self) -> None:
        self.push()
        self._tick_later()

    def _tick_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PUSH_S, self._tick)

    def push(self) -> None:
        """Bring Prometheus' objects up to date."""
        for (route, code), number in self._requests.items():
            self.families.requests.labels(route, str(code)).inc(number)
        self._requests.clear()
        for route, tally in self._seconds.items():
            self.families.request_seconds.labels(route).add(*tally.empty(), self._exemplars.get(route, {}))
        self._seconds.clear()
        self._exemplars.clear()
        models = list(self._models.values())  # a copy: another version may be on its way in, on another thread
        for model in models:
            model.push()
        self._push_gauges(models)
        self._push_log()

    def _push_log(self) -> None:
        lost = lines_lost()
        if lost != self._lines_lost:
            self.families.log_lines_lost.inc(lost - self._lines_lost)
            self._lines_lost = lost

    def _push_gauges(self, models: list[ModelMetrics]) -> None:
        """Versions of one model share its gauges: their sums."""
        sums = dict.fromkeys(self._gauges, (0, 0, 0))
        for model in models:
            depth, limit, in_flight = sums.get(model.name, (0, 0, 0))
            for queue in model.queues:
                depth, limit = depth + queue.queue_depth, limit + queue.queue_limit
                in_flight += queue.in_flight
            sums[model.name] = depth, limit, in_flight
        for name, (depth, limit, in_flight) in sums.items():
            if self._gauges.get(name) != (depth, limit, in_flight):
                self.families.queue_depth.labels(name).set(depth)
                self.families.queue_limit.labels(name).set(limit)
                self.families.in_flight.labels(name).set(in_flight)
        self._gauges = sums

    def collect(self) -> Iterable[Metric]:
        """Every family as it stands now, of all processes that serve this port."""
        self.push()
        return self._collected()

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All figures in the form that the scraper's Accept header asks for, and its content type."""
        self.push()
        return self._written(accept)

    async def scrape(self, accept: str = "") -> tuple[bytes, str]:
        """The same, written on a thread: it takes ten milliseconds and more, which requests should not wait for.

        Scrapes that come while one is being written have its answer: however many ask, it is written by one at a time.
        """
        writing = self._writing.get(accept)
        if writing is None:
            self.push()
            writing = asyncio.create_task(asyncio.to_thread(self._written, accept))
            self._writing[accept] = writing
            writing.add_done_callback(lambda _: self._writing.pop(accept))
        return await asyncio.shield(writing)

    def _written(self, accept: str) -> tuple[bytes, str]:
        encode, content_type = choose_encoder(accept)
        return encode(Shown(self._collected())), content_type

    def _collected(self) -> list[Metric]:
        found = [*self._source.collect(), *gpu_figures(), *process_figures()]
        return [*found, *nv_families(found)] if self._nv_metrics else found


class SharedFiles(Collector):
    """The figures of all processes, from their files.

    A process that is just starting has made its files and not yet written their heads; prometheus_client's own
    collector breaks on such a file, and with it the scrape.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        """Every family, added up."""
        files = [str(file) for file in self._folder.glob("*.db") if _size(file)]
        merged: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return merged


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # its process has ended, and its gauges with it
        return 0


class Shown(Collector):
    """Families as they are, for an encoder."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """What it was given."""
        return self._families
