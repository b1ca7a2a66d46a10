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

from prometheus_client import CollectorRegistry, Metric, disable_created_metrics, values
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from serving.families import SECONDS, Families
from serving.model_metrics import ModelMetrics
from serving.nv_metrics import nv_families
from serving.tallies import Tally

disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for every counter, which nothing here reads

__all__ = ["MULTIPROCESS", "Metrics", "ModelMetrics"]

PUSH_S = 0.1
MULTIPROCESS = bool(getattr(values.ValueClass, "_multiprocess", False))
"""Whether several processes share their figures: prometheus_client decides it when it is imported."""


class Metrics:
    """The service's figures."""

    def __init__(self, nv_metrics: bool = False) -> None:
        self._registry = CollectorRegistry()
        self.families = Families(self._registry)
        self._source: Collector = self._registry
        if MULTIPROCESS:
            self._source = MultiProcessCollector(None, os.environ["PROMETHEUS_MULTIPROC_DIR"])  # type: ignore[no-untyped-call]
        self._nv_metrics = nv_metrics
        self._models: dict[tuple[str, int], ModelMetrics] = {}
        self._requests: dict[tuple[str, int], int] = {}
        self._seconds: dict[str, Tally] = {}
        self._exemplars: dict[str, dict[int, Exemplar]] = {}  # route -> bucket -> the newest
        self._gauges: dict[str, tuple[int, int]] = {}  # model -> what was pushed last
        self._timer: asyncio.TimerHandle | None = None

    def model(self, name: str, version: int) -> ModelMetrics:
        """The figures of one version, the same object every time."""
        key = (name, version)
        if key not in self._models:
            self._models[key] = ModelMetrics(self.families, name, version)
        return self._models[key]

    def forget(self, name: str, version: int) -> None:
        """A version is gone for good: what is known of it alone goes too, so that reloads do not pile up series.

        Figures of the model stay. Where several processes share their figures, prometheus_client cannot take series
        away: there the version's stay, as not ready.
        """
        gone = self._models.pop((name, version), None)
        if gone is not None:
            gone.push()
        self.model_ready(name, version, ready=False)
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

    def load_failure(self, model: str) -> None:
        """A version was refused when it was loaded."""
        self.families.load_failures.labels(model).inc()

    def start(self) -> None:
        """Push every 100 ms from now on, where other processes read it; call it on the event loop."""
        if MULTIPROCESS:
            self._timer = asyncio.get_running_loop().call_later(PUSH_S, self._tick)

    def stop(self) -> None:
        """Push what is left."""
        if self._timer is not None:
            self._timer.cancel()
        self.push()

    def _tick(self) -> None:
        self.push()
        self.start()

    def push(self) -> None:
        """Bring Prometheus' objects up to date."""
        for (route, code), number in self._requests.items():
            self.families.requests.labels(route, str(code)).inc(number)
        self._requests.clear()
        for route, tally in self._seconds.items():
            self.families.request_seconds.labels(route).add(*tally.empty(), self._exemplars.get(route, {}))
        self._seconds.clear()
        self._exemplars.clear()
        for model in self._models.values():
            model.push()
        self._push_gauges()

    def _push_gauges(self) -> None:
        """Versions of one model share its gauges: their sums."""
        sums = dict.fromkeys(self._gauges, (0, 0))
        for model in self._models.values():
            (depth, in_flight), (more_depth, more_in_flight) = sums.get(model.name, (0, 0)), model.load()
            sums[model.name] = depth + more_depth, in_flight + more_in_flight
        for name, (depth, in_flight) in sums.items():
            if self._gauges.get(name) != (depth, in_flight):
                self.families.queue_depth.labels(name).set(depth)
                self.families.in_flight.labels(name).set(in_flight)
        self._gauges = sums

    def collect(self) -> Iterable[Metric]:
        """Every family as it stands now, of all processes that serve this port."""
        self.push()
        found = list(self._source.collect())
        return [*found, *nv_families(found)] if self._nv_metrics else found

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All figures in the form that the scraper's Accept header asks for, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self), content_type
