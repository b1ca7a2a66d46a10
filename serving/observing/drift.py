"""Drift: whether live answers are still spread as those on the test split were, and what inputs look like.

Of each model's traffic at most two answers a second are kept, at random moments, with copies of their tensors; every
five seconds a thread decodes them anew (with the options of the reference, not the caller's) and counts them into a
window of the last thousand. Of that window come `modelyard_drift_psi`, one gauge a statistic of the task, and the
figures of inputs. Knows tasks by their counts, and metrics. Knows nothing of HTTP, nor of what a statistic means.
"""

import asyncio
import logging
import math
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from weakref import ref

from bundle.preprocess import Prepared
from bundle.shares import Counts, sums
from bundle.tensors import Tensors
from runtime.predictor import Predictor
from serving.observing.input_statistics import KINDS, source_of
from serving.observing.metrics import Metrics
from serving.observing.psi import NOTABLE, SERIOUS, is_distribution, psi

SAMPLES_A_SECOND = 2.0
UPDATE_S = 5.0
BLOCK, NUM_BLOCKS = 50, 20
"""The window slides by blocks: one of 50 leaves when 20 are full. So it takes the room of 20 sums, not of 1,000."""
MAX_WAITING = 16

log = logging.getLogger("modelyard.drift")


@dataclass
class Block:
    """Sums of up to BLOCK answers."""

    size: int = 0
    counts: Counts = field(default_factory=dict)
    inputs: dict[str, float] = field(default_factory=dict)

    def add(self, counts: Counts, inputs: dict[str, float]) -> None:
        """Count one answer and its input."""
        self.size += 1
        self.counts = sums((self.counts, counts))
        self.inputs = {name: self.inputs.get(name, 0.0) + value for name, value in inputs.items()}


@dataclass(frozen=True)
class Findings:
    """What one update found."""

    samples: int
    psi: dict[str, float]
    """By statistic; NaN where there are too few samples."""
    inputs: dict[str, float]
    """Mean over the window, by input statistic."""
    new_inputs: list[dict[str, float]]
    """Those of every answer since the last update."""


class Watch:
    """One model version's window."""

    def __init__(self, predictor: Predictor, samples_a_second: float, now_s: Callable[[], float]) -> None:
        manifest = predictor.manifest
        self.name, self.version = manifest.name, manifest.version
        self._predictor = predictor
        self._kind = manifest.preprocess.kind
        self._reference = {name: bins for name, bins in manifest.reference.items() if is_distribution(bins)}
        # Whichever artefact answers: the reference was made on the test split when the bundle was exported.
        evidence = manifest.artefacts[manifest.default_artefact].evidence
        self._num_reference = evidence.num_test_samples if evidence else 1
        self._mean_gap_s = 1 / samples_a_second if samples_a_second else math.inf
        self._now_s = now_s
        self._due_s = 0.0
        self._waiting: deque[tuple[Tensors, Prepared]] = deque(maxlen=MAX_WAITING)
        self._blocks: deque[Block] = deque([Block()], maxlen=NUM_BLOCKS)
        self._told_of_failure = False

    @property
    def samples(self) -> int:
        """Answers in the window."""
        return sum(block.size for block in self._blocks)

    def offer(self, rows: Sequence[Tensors], prepared: Sequence[Prepared]) -> None:
        """Answers of one request: rows of outputs and what they were made from. Nearly always a look at the clock.

        May be called from any thread.
        """
        now_s = self._now_s()
        if now_s < self._due_s or not rows:
            return
        self._due_s = now_s + random.uniform(0.5, 1.5) * self._mean_gap_s  # noqa: S311 - no rhythm to fall in step with
        i = random.randrange(len(rows))  # noqa: S311
        # Copies: a row is a view of its batch, and would keep all of it.
        mine = Prepared({name: array.copy() for name, array in prepared[i].tensors.items()}, prepared[i].source)
        self._waiting.append(({name: array.copy() for name, array in rows[i].items()}, mine))

    def digest(self) -> Findings | None:
        """Count what was offered since the last time; None where nothing was. Takes milliseconds: not for the loop."""
        new_inputs = []
        while self._waiting:
            outputs, prepared = self._waiting.popleft()
            inputs = self._count(outputs, prepared)
            if inputs is not None:
                new_inputs.append(inputs)
        if not new_inputs:
            return None
        size = self.samples
        totals = sums(block.counts for block in self._blocks)
        indices = {
            name: psi(bins, totals[name], self._num_reference)
            for name, bins in self._reference.items()
            if name in totals and len(totals[name]) == len(bins)
        }
        means = {name: sum(block.inputs.get(name, 0.0) for block in self._blocks) / size for name in new_inputs[-1]}
        return Findings(size, indices, means, new_inputs)

    def _count(self, outputs: Tensors, prepared: Prepared) -> dict[str, float] | None:
        """Count one answer; the figures of its input, or None where it cannot be counted."""
        task = self._predictor.task
        try:
            inputs = KINDS[self._kind].statistics(prepared.tensors)
            source = source_of(prepared, self._kind)
            counts = task.count(task.decode(outputs, source, task.options_type()))
        except Exception:  # whatever a client's tensors provoke here was answered already; it must not end the watch
            if not self._told_of_failure:
                self._told_of_failure = True
                log.warning("model '%s': an answer cannot be counted for drift", self.name, exc_info=True)
            return None
        if not all(map(math.isfinite, inputs.values())):
            return None  # a client may send any bits as floats
        if self._blocks[-1].size == BLOCK:
            self._blocks.append(Block())
        self._blocks[-1].add(counts, inputs)
        return inputs


class Drift:
    """All models' windows."""

    def __init__(
        self,
        metrics: Metrics,
        samples_a_second: float = SAMPLES_A_SECOND,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._families = metrics.families
        self._forget = metrics.forget_drift
        self._samples_a_second = samples_a_second
        self._now_s = now_s
        self._watches: tuple[
            ref[Watch], ...
        ] = ()  # whoever serves holds a watch; one that never came to serve just goes
        self._levels: dict[tuple[str, str], int] = {}

    def watch(self, predictor: Predictor) -> Watch:
        """Begin to watch a version that will answer, as long as the watch is kept. May be called from any thread."""
        made = Watch(predictor, self._samples_a_second, self._now_s)
        self._watches = (*self._watches, ref(made))  # one assignment: an update has the old ones meanwhile
        return made

    @property
    def watches(self) -> list[Watch]:
        """Those that still are."""
        return [watch for known in self._watches if (watch := known()) is not None]

    def unwatch(self, watch: Watch) -> None:
        """A version is gone; with the last one of a model its gauges go."""
        self._watches = tuple(known for known in self._watches if known() not in (watch, None))
        if all(other.name != watch.name for other in self.watches):
            self._forget(watch.name)

    async def run(self) -> None:
        """Update until cancelled."""
        while True:
            await asyncio.sleep(UPDATE_S)
            await self.update()

    async def update(self) -> None:
        """Count what was offered, and set the gauges."""
        for watch in self.watches:
            findings = await asyncio.to_thread(watch.digest)
            if findings is not None and watch in self.watches:
                self._publish(watch, findings)

    def _publish(self, watch: Watch, found: Findings) -> None:
        """Set the gauges of a model; where several of its versions answer, they are those of the one asked most."""
        rivals = [other for other in self.watches if other.name == watch.name]
        if watch is not max(rivals, key=lambda other: (other.samples, other.version)):
            return
        families, name = self._families, watch.name
        families.drift_samples.labels(name).set(found.samples)
        for statistic, index in found.psi.items():
            if not math.isnan(index):
                families.drift_psi.labels(name, statistic).set(index)
                self._tell(watch, statistic, index, found.samples)
        for statistic, value in found.inputs.items():
            families.inputs.labels(name, statistic).set(value)
        histograms = {"brightness": families.input_brightness, "tokens": families.input_tokens}
        for inputs in found.new_inputs:
            for statistic in histograms.keys() & inputs.keys():
                histograms[statistic].labels(name).observe(inputs[statistic])

    def _tell(self, watch: Watch, statistic: str, index: float, samples: int) -> None:
        """A line in the log where the index passes a threshold upwards, not at every update above it."""
        level = (index >= NOTABLE) + (index >= SERIOUS)
        before = self._levels.get((watch.name, statistic), 0)
        self._levels[watch.name, statistic] = level
        if level > before:
            text = "model '%s' version %d: %s of its last %d samples is off the test split's: PSI %.3f (%s from %g)"
            limit = (NOTABLE, SERIOUS)[level - 1]
            word = ("notable", "serious")[level - 1]
            log.warning(text, watch.name, watch.version, statistic, samples, index, word, limit)
