"""A model version that answers: its engines in the layout that fits, its batcher, its figures.

One configuration is best at both ends of the load, because processors per batch follow it: a batch that has the
machine for itself runs on an engine with all processors (where the bundle's latency table says that this pays), any
other on one processor, as many side by side as there are.

Knows bundles, engines and batchers. Knows nothing of HTTP.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from bundle.errors import ModelyardError
from bundle.evidence import Latency
from bundle.manifest import Manifest
from bundle.preprocess import Limits, Prepared
from bundle.store import Bundle
from bundle.tensors import Tensors
from runtime.choice import ANYTHING, Wanted, choose
from runtime.devices import device_info, installed_version
from runtime.predictor import Predictor, load_choice
from runtime.runtime import Placement
from serving.batcher import Batcher, Finish
from serving.call import Call, now
from serving.drift import Drift
from serving.errors import status_of
from serving.lanes import Lanes
from serving.metrics import Metrics, ModelMetrics
from serving.model_settings import Layout, ModelSettings
from serving.policy import Policy

R = TypeVar("R")

CALL_COST_MS = 0.05
"""What a batch costs beside its engine: stacking, splitting, bookkeeping."""
GOOD_ENOUGH = 1.1
"""A batch is large enough when a row in it costs at most this much more than in the best batch."""
HERE_BATCH_MS = 1.5
"""The longest that a batch may hold up the event loop."""
WIDE_PAYS = 0.9
"""All processors are given to one batch where that takes less than this share of the time on one."""


@dataclass(frozen=True)
class Serving:
    """What the service gives every model unless its own settings say otherwise."""

    placement: Placement
    limits: Limits
    lanes: Lanes
    metrics: Metrics
    drift: Drift
    layout: Layout = "auto"
    max_queue: int = 256
    timeout_s: float = 30.0
    wanted: Wanted = ANYTHING
    here_ms: float = 0.3
    """A model whose batch of one takes less, runs on the event loop; 0: none does."""


class Engines:
    """One artefact in one or two sessions: with one processor a batch, and with all of them."""

    def __init__(self, narrow: Predictor, wide: Predictor | None) -> None:
        self.prepare = narrow.prepare
        self.is_quick = narrow.manifest.preprocess.is_quick
        self._narrow = narrow.run_batch
        self._wide = (wide or narrow).run_batch

    def run(self, rows: Sequence[Tensors], alone: bool) -> list[Tensors]:
        """Compute rows of one shape."""
        return self._wide(rows) if alone else self._narrow(rows)


class Tap(Protocol):
    """Who looks at a share of the traffic."""

    def tap(self, call: Call, inputs: Sequence[bytes | Prepared], finish: Finish[R]) -> Finish[R]:
        """The same `finish`, perhaps with an eye on what it is given."""
        ...


class ServedModel:
    """A model version, ready for requests."""

    def __init__(self, bundle: Bundle, settings: ModelSettings, serving: Serving) -> None:
        self.bundle = bundle
        self.settings = settings
        self.manifest: Manifest = bundle.manifest
        self.name = bundle.manifest.name
        self.version = bundle.manifest.version
        self.timeout_s = settings.timeout_ms / 1e3 if settings.timeout_ms else serving.timeout_s
        self.choice = choose(bundle, device_info(serving.placement), serving.wanted, installed_version)
        latency = self.choice.latency
        layout = settings.layout or serving.layout
        threads = min(settings.threads or serving.lanes.number, serving.lanes.number)
        pays = layout == "auto" and wide_pays(latency, self.choice.parallel, threads)
        wide = threads > 1 and (layout == "latency" or pays)
        always_wide = wide and layout == "latency"
        self.predictor = self._load(serving, threads if always_wide else 1)
        self.wide = self._load(serving, threads) if wide and not always_wide else None
        self.shadow: Tap | None = None
        self.metrics: ModelMetrics = serving.metrics.model(self.name, self.version)
        here = serving.placement.device == "cpu" and layout != "latency" and is_small(latency, serving.here_ms)
        limit_ms = HERE_BATCH_MS if here else math.inf
        self.policy = Policy(
            max_batch_size=min(settings.max_batch_size or self.manifest.max_batch_size, self.manifest.max_batch_size),
            preferred_batch_size=preferred_batch_size(latency, self.manifest.max_batch_size, limit_ms),
            max_queue=settings.max_queue or serving.max_queue,
            max_queue_delay_s=settings.max_queue_delay_ms / 1e3,
            instances=1 if always_wide else min(settings.instances or serving.lanes.number, serving.lanes.number),
            here=here,
        )
        self.batcher = Batcher(
            f"model '{self.name}' version {self.version}",
            Engines(self.predictor, self.wide),
            self.policy,
            serving.lanes,
            self.metrics,
        )
        self.metrics.join(self.batcher)
        self._drift = serving.drift
        self._watch = serving.drift.watch(self.predictor)

    def _load(self, serving: Serving, threads: int) -> Predictor:
        return load_choice(self.bundle, self.choice, replace(serving.placement, threads=threads), serving.limits)

    @property
    def folder(self) -> Path:
        """Where the bundle lies."""
        return self.bundle.folder

    def batch_ladder(self) -> list[int]:
        """Batch sizes worth warming: 1, 2, 4, ... up to the largest that is run."""
        largest = self.policy.largest
        return sorted({min(2**power, largest) for power in range(largest.bit_length() + 1)})

    async def ask(self, call: Call, inputs: Sequence[bytes | Prepared], finish: Finish[R]) -> R:
        """Answer one request: `finish` makes the answer of its rows.

        Raises:
            BadInput: an input cannot be read. Overloaded, DeadlineExceeded, ClientGone, RuntimeFailed: as they say.
        """
        call.answer_within(self.timeout_s)
        call.model, call.version = self.name, self.version
        if self.shadow is not None:
            finish = self.shadow.tap(call, inputs, finish)

        def watched(rows: list[Tensors], prepared: list[Prepared]) -> R:
            answer = finish(rows, prepared)
            self._watch.offer(rows, prepared)
            return answer

        try:
            answer = await self.batcher.submit(call, inputs, watched)
        except Exception as error:
            reason = status_of(error)[1] if isinstance(error, ModelyardError) else "internal"
            self.metrics.failed(reason, call.phases, now() - call.arrived)
            raise
        self.metrics.answered(call.phases, len(inputs), now() - call.arrived)
        return answer

    async def retire(self) -> None:
        """Answer what was accepted, then let go of the lanes; the engines go with the last reference."""
        await self.batcher.drain()
        self.batcher.close()
        self.metrics.leave(self.batcher)
        self._drift.unwatch(self._watch)


def wide_pays(narrow: Latency | None, wide: Latency | None, threads: int) -> bool:
    """Whether a batch of one is much faster on several processors, by the latency tables; not known is no."""
    if narrow is None or wide is None or wide.threads > threads:
        return False
    one, several = narrow.median_ms.get(1), wide.median_ms.get(1)
    return one is not None and several is not None and several <= WIDE_PAYS * one


def preferred_batch_size(latency: Latency | None, largest: int, limit_ms: float = math.inf) -> int:
    """The smallest measured batch in which a row costs about as little as in any; not known: the largest.

    Of batches that take longer than `limit_ms` only the smallest counts.
    """
    table = latency.median_ms if latency else {}
    if len(table) < 2:
        return largest
    quick = {size: ms for size, ms in table.items() if ms <= limit_ms or size == min(table)}
    cost = {size: (ms + CALL_COST_MS) / size for size, ms in quick.items()}
    return min(size for size in cost if cost[size] <= GOOD_ENOUGH * min(cost.values()))


def is_small(latency: Latency | None, limit_ms: float) -> bool:
    """Whether handing a row of this model to a thread costs more than computing it."""
    return latency is not None and latency.median_ms.get(1, limit_ms) < limit_ms
