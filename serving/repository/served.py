"""A model version that answers: its engines in the layout that fits, its batcher, its figures.

Knows bundles, engines and batchers. Knows nothing of HTTP.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from bundle.errors import DeviceLost, ModelyardError, RuntimeFailed
from bundle.manifest import Manifest
from bundle.preprocess import Limits, Prepared
from bundle.store import Bundle
from bundle.tensors import Tensors
from runtime.choice import Choice, choose
from runtime.predictor import Predictor, load_choice
from runtime.proofs import Failure
from serving.batching.batcher import Batcher, Finish
from serving.batching.call import Call, now
from serving.batching.engines import CpuEngines, Engines, GpuEngines
from serving.batching.lanes import Lanes
from serving.batching.layout import Given, LaidOut, lay_out
from serving.batching.placing import Placed, Placing
from serving.batching.tuned import Tuned, follow
from serving.errors import status_of
from serving.observing.drift import Drift
from serving.observing.metrics import Metrics, ModelMetrics
from serving.repository.model_settings import Layout, ModelSettings

R = TypeVar("R")

log = logging.getLogger("modelyard.serving")


@dataclass(frozen=True)
class Serving:
    """What the service gives every model unless its own settings say otherwise."""

    placing: Placing
    limits: Limits
    lanes: Lanes
    metrics: Metrics
    drift: Drift
    layout: Layout = "auto"
    max_queue: int = 256
    timeout_s: float = 30.0
    here_ms: float = 0.3
    """A model whose batch of one takes less, runs on the event loop; 0: none does."""

    @property
    def given(self) -> Given:
        """What a model's layout is made of."""
        return Given(self.lanes.number, self.layout, self.max_queue, self.here_ms)


class Tap(Protocol):
    """Who looks at a share of the traffic."""

    def tap(self, call: Call, inputs: Sequence[bytes | Prepared], finish: Finish[R]) -> Finish[R]:
        """The same `finish`, perhaps with an eye on what it is given."""
        ...


class ChoiceFailed(Exception):
    """What was chosen on a GPU cannot be loaded, or gives other answers than it should: something else may do.

    Whoever brings models up catches it; nobody else hears of it.
    """

    def __init__(self, choice: Choice, cause: ModelyardError) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.failure = Failure(choice.artefact, choice.runtime, choice.record, str(cause))


class ServedModel:
    """A model version, ready for requests."""

    def __init__(
        self, bundle: Bundle, settings: ModelSettings, serving: Serving, without: tuple[Failure, ...] = ()
    ) -> None:
        """Load the best that is there, but for what has failed already.

        Raises:
            BundleError: nothing may run. ChoiceFailed: a GPU cannot load what was chosen. DeviceLost: it is gone.
            RuntimeFailed: there is no such device, or the CPU cannot load what was chosen.
        """
        self.bundle = bundle
        self._without = without
        self.settings = settings
        self.manifest: Manifest = bundle.manifest
        self.name = bundle.manifest.name
        self.version = bundle.manifest.version
        self.timeout_s = settings.timeout_ms / 1e3 if settings.timeout_ms else serving.timeout_s
        self.placed = self._place(settings, serving)
        self._versions, self._given = serving.placing.devices.version, serving.given
        self.tuned = self.choose_anew()
        settings = self.tuned.fill(settings)
        self.placed = self._place(settings, serving)
        most_rows, worth = self.manifest.max_batch_size, self.tuned.batch_size
        laid_out = lay_out(most_rows, self.choice, self.placed, settings, serving.given, worth)
        self.policy, self.batch_ladder = laid_out.policy, laid_out.batch_ladder
        self.engines: Engines = self._load(laid_out, serving)
        self.predictor: Predictor = next(iter(self.engines.loaded.values()))
        self.shadow: Tap | None = None
        self.metrics: ModelMetrics = serving.metrics.model(self.name, self.version)
        what = f"model '{self.name}' version {self.version}"
        self.batcher = Batcher(what, self.engines, self.policy, serving.lanes, self.metrics)
        self.metrics.join(self.batcher)
        self._drift = serving.drift
        self._watch = serving.drift.watch(self.predictor)
        self._mourned = False

    def _place(self, settings: ModelSettings, serving: Serving) -> Placed:
        placed = serving.placing.of(settings)
        return replace(placed, wanted=replace(placed.wanted, without=self._without))

    def _load(self, laid_out: LaidOut, serving: Serving) -> Engines:
        if self.placed.is_gpu:
            return self._load_on_gpus(serving)
        (place,) = self.placed.placements

        def load(threads: int) -> Predictor:
            return load_choice(self.bundle, self.choice, replace(place, threads=threads), serving.limits)

        return CpuEngines(load(laid_out.threads), load(laid_out.wide_threads) if laid_out.wide_threads else None)

    def _load_on_gpus(self, serving: Serving) -> Engines:
        graphs = self.batch_ladder if serving.placing.cuda_graphs else ()
        places = [replace(one, graph_batches=graphs) for one in self.placed.placements]
        try:
            return GpuEngines({str(one): load_choice(self.bundle, self.choice, one, serving.limits) for one in places})
        except DeviceLost:
            raise
        except RuntimeFailed as cause:
            raise ChoiceFailed(self.choice, cause) from cause

    @property
    def choice(self) -> Choice:
        """What runs, and why that."""
        return self.tuned.choice

    @property
    def folder(self) -> Path:
        """Where the bundle lies."""
        return self.bundle.folder

    @property
    def dead_because(self) -> str:
        """Why one of its engines never answers again in this process, or ""."""
        dead = self.engines.dead_because
        return f"model '{self.name}' version {self.version} on {dead}" if dead else ""

    def choose_anew(self) -> Tuned:
        """What would run if the model were loaded now; reads the records and the tuning that lie there.

        Raises:
            BundleError: nothing would.
        """
        choice = choose(self.bundle, self.placed.device, self.placed.wanted, self._versions)
        return follow(self.bundle, choice, self.placed, self._versions, self.settings, self._given)

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
            if isinstance(error, DeviceLost):
                self._mourn(error)
            raise
        self.metrics.answered(call.phases, len(inputs), now() - call.arrived)
        return answer

    def _mourn(self, error: DeviceLost) -> None:
        """Tell the log, once: every request from now on fails like this one."""
        if not self._mourned:
            self._mourned = True
            log.error("model '%s' version %d has lost its device: %s", self.name, self.version, error)

    async def retire(self) -> None:
        """Answer what was accepted, then let go of the lanes; the engines go with the last reference."""
        await self.batcher.drain()
        self.batcher.close()
        self.metrics.leave(self.batcher)
        self._drift.unwatch(self._watch)
