"""What `modelyard tune` found for one model on this device, as far as it may be followed.

serving.toml and flags go before it, it goes before the latency table of the bundle's evidence. Of the measured points
the best is taken that fits what those leave open: that is the chosen one, unless they say otherwise. A tuning that
cannot be followed never stops a model: it is left aside, and the log and `/v1/models` say why.

Knows tunings, choices and settings. Knows nothing of engines, queues or HTTP.
"""

import logging
from dataclasses import dataclass, replace
from typing import Any

from bundle.errors import BundleError
from bundle.evidence import Latency
from bundle.store import Bundle
from bundle.tuning import Point, Tuning, best_point, read_tuning
from runtime.choice import Choice, candidates
from runtime.proofs import Versions
from serving.batching.layout import Given
from serving.batching.placing import Placed
from serving.repository.model_settings import Layout, ModelSettings

log = logging.getLogger("modelyard.serving")


@dataclass(frozen=True)
class Room:
    """What settings and machine leave open."""

    max_batch_size: int
    instances: int
    """Batches that may run at once; on each GPU, where it is one."""
    threads: int
    """Processors for one batch."""
    layout: Layout = "auto"

    def fits(self, point: Point) -> bool:
        """Whether a point could be served."""
        return (
            point.batch_size <= self.max_batch_size
            and point.instances <= self.instances
            and point.threads <= self.threads
            and (self.layout != "throughput" or point.threads == 1)
            and (self.layout != "latency" or point.threads > 1 or self.threads == 1)
        )

    def __str__(self) -> str:
        """For a message."""
        size = f"batches of at most {self.max_batch_size}, at most {self.instances} at once"
        return f"{size}, at most {self.threads} processor(s) each, layout {self.layout}"


@dataclass(frozen=True)
class Tuned:
    """What runs, and the point that it follows, where there is one."""

    choice: Choice
    tuning: Tuning | None = None
    point: Point | None = None
    not_used: str = ""
    """Why a tuning that is there is not followed."""

    @property
    def batch_size(self) -> int | None:
        """The largest batch worth making."""
        return self.point.batch_size if self.point else None

    def runs_as(self, other: "Tuned") -> bool:
        """Whether the model would run in the same way: what is told of it may differ."""
        return self.choice.runs_as(other.choice) and self.point == other.point

    def fill(self, settings: ModelSettings) -> ModelSettings:
        """A model's settings, with what they leave open as the point says."""
        point = self.point
        if point is None:
            return settings
        wide = point.threads > 1
        found = {
            "gpu_instances" if self.choice.device.kind == "cuda" else "instances": point.instances,
            "threads": point.threads if wide else None,
            "layout": "latency" if wide else None,
        }
        return settings.model_copy(
            update={key: value for key, value in found.items() if getattr(settings, key) is None}
        )

    def shown(self, batch_size: int, instances: int) -> dict[str, Any] | None:
        """As JSON values, with what is in force beside what was measured; None where nobody has tuned here."""
        if self.tuning is None or self.point is None:
            return {"not_used": self.not_used} if self.not_used else None
        return {
            "p99_ms": self.tuning.p99_ms,
            "holds": self.point.holds(self.tuning.p99_ms),
            **self.point.model_dump(mode="json"),
            "in_force": {"batch_size": batch_size, "instances": instances},
            "measured": self.tuning.measured_with.get("date", ""),
        }


def follow(
    bundle: Bundle, choice: Choice, placed: Placed, versions: Versions, settings: ModelSettings, given: Given
) -> Tuned:
    """What the tuning of this device makes of a choice."""
    try:
        tuning = read_tuning(bundle, placed.device, versions, placed.wanted.engines)
        if tuning is None:
            return Tuned(choice)
        found, _ = candidates(bundle, placed.device, placed.wanted, versions)
        return _followed(bundle, choice, found, _room(bundle, placed, settings, given), tuning)
    except BundleError as cause:
        log.error("model '%s' is served without its tuning: %s", bundle.manifest.name, cause)
        return Tuned(choice, not_used=str(cause))


def _room(bundle: Bundle, placed: Placed, settings: ModelSettings, given: Given) -> Room:
    lanes = given.num_lanes
    most_rows = bundle.manifest.max_batch_size
    if placed.is_gpu:
        instances, threads = settings.gpu_instances or max(1, lanes // len(placed.placements)), 1
    else:
        instances, threads = min(settings.instances or lanes, lanes), min(settings.threads or lanes, lanes)
    size = min(settings.max_batch_size or most_rows, most_rows)
    return Room(size, instances, threads, settings.layout or given.layout)


def _followed(bundle: Bundle, choice: Choice, found: list[Choice], room: Room, tuning: Tuning) -> Tuned:
    """The best point among what may run here.

    Raises:
        BundleError: none fits.
    """
    runnable = {(one.artefact, one.runtime): one for one in found}
    points = [one for one in tuning.points if (one.artefact, one.runtime) in runnable and room.fits(one)]
    if not points:
        listed = ", ".join(f"'{artefact}' in {runtime}" for artefact, runtime in runnable) or "nothing"
        raise BundleError(
            f"{bundle.folder}: none of its {len(tuning.points)} measured points fits: {listed} may run; {room}"
        )
    point = best_point(points, tuning.p99_ms)
    limit = f"within a p99 of {tuning.p99_ms:g} ms"
    why = (
        f"the highest throughput {limit}" if point.holds(tuning.p99_ms) else f"nothing is {limit}; this is the nearest"
    )
    runs = runnable[point.artefact, point.runtime]
    measured = replace(
        runs,
        latency=_table(tuning, point, wide=False) or runs.latency,
        parallel=_table(tuning, point, wide=True) or runs.parallel,
        why=f"{why}, as tuned on this device",
        fell_back=choice.fell_back,
    )
    return Tuned(measured, tuning, point)


def _table(tuning: Tuning, like: Point, wide: bool) -> Latency | None:
    """Milliseconds by batch size of what runs, one batch at a time, on one processor or on all (`wide`)."""
    points = [
        one
        for one in tuning.points
        if (one.artefact, one.runtime, one.instances) == (like.artefact, like.runtime, 1) and (one.threads > 1) == wide
    ]
    if not points:
        return None
    return Latency(threads=points[0].threads, median_ms={one.batch_size: one.batch_p50_ms for one in points})
