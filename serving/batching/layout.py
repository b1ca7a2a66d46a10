"""How a model's batches are laid out: how large they are, how many run at once, and with how many processors each.

One configuration is best at both ends of the load, because processors per batch follow it: a batch that has the
machine for itself runs on an engine with all processors (where the bundle's latency table says that this pays), any
other on one processor, as many side by side as there are. On GPUs all that counts is how many batches are there.

Knows latency tables and settings. Knows nothing of engines, lanes or requests.
"""

import math
from dataclasses import dataclass

from bundle.evidence import Latency
from runtime.choice import Choice
from serving.batching.placing import Placed
from serving.batching.policy import Policy
from serving.repository.model_settings import Layout, ModelSettings

CALL_COST_MS = 0.05
"""What a batch costs beside its engine: stacking, splitting, bookkeeping."""
GOOD_ENOUGH = 1.1
"""A batch is large enough when a row in it costs at most this much more than in the best batch."""
HERE_BATCH_MS = 1.5
"""The longest that a batch may hold up the event loop."""
WIDE_PAYS = 0.9
"""All processors are given to one batch where that takes less than this share of the time on one."""


@dataclass(frozen=True)
class Given:
    """What the service gives every model that says nothing itself."""

    num_lanes: int
    layout: Layout = "auto"
    max_queue: int = 256
    here_ms: float = 0.3
    """A model whose batch of one takes less, runs on the event loop; 0: none does."""


@dataclass(frozen=True)
class LaidOut:
    """How one model is run."""

    policy: Policy
    threads: int = 1
    """Processors of the engine that carries the load."""
    wide_threads: int | None = None
    """Processors of a second one, for a batch that is alone; None: there is no second one."""

    @property
    def batch_ladder(self) -> tuple[int, ...]:
        """Batch sizes worth warming: 1, 2, 4, ... up to the largest that is run."""
        largest = self.policy.largest
        return tuple(sorted({min(2**power, largest) for power in range(largest.bit_length() + 1)}))


def lay_out(
    max_batch_size: int,
    choice: Choice,
    placed: Placed,
    settings: ModelSettings,
    given: Given,
    tuned_batch_size: int | None = None,
) -> LaidOut:
    """Decide; `max_batch_size` is what the bundle's evidence covers.

    `tuned_batch_size` goes before what the latency table says, but on the event loop, which it must not hold up.
    """
    layout = settings.layout or given.layout
    here = not placed.is_gpu and layout != "latency" and is_small(choice.latency, given.here_ms)
    threads = 1 if placed.is_gpu else min(settings.threads or given.num_lanes, given.num_lanes)
    pays = layout == "auto" and wide_pays(choice.latency, choice.parallel, threads)
    always_wide = threads > 1 and layout == "latency"
    most = min(placed.slots if placed.is_gpu else given.num_lanes, given.num_lanes)
    by_table = preferred_batch_size(choice.latency, max_batch_size, HERE_BATCH_MS if here else math.inf)
    worth = tuned_batch_size or by_table
    policy = Policy(
        max_batch_size=min(settings.max_batch_size or max_batch_size, max_batch_size),
        preferred_batch_size=min(worth, by_table) if here else worth,
        max_queue=settings.max_queue or given.max_queue,
        max_queue_delay_s=settings.max_queue_delay_ms / 1e3,
        instances=1 if always_wide else min(settings.instances or most, most),
        num_gpus=len(placed.placements) if placed.is_gpu else 0,
        here=here,
    )
    wide_threads = threads if pays and threads > 1 and not always_wide else None
    return LaidOut(policy, threads if always_wide else 1, wide_threads)


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
