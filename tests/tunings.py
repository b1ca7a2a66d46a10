"""What `modelyard tune` leaves beside a bundle, made up: points of known figures, and a tuning that holds them."""

from pathlib import Path
from typing import Any

from bundle.device import DeviceInfo
from bundle.store import Bundle
from bundle.tuning import Point, Tuning, best_point, tuning_path, write_tuning
from runtime.devices import device_info
from runtime.runtime import ON_CPU

LIMIT_MS = 50.0


def point(batch_size: int = 4, ms: float = 10.0, instances: int = 1, threads: int = 1, **changes: Any) -> Point:
    """A point whose batches all take `ms`."""
    figures = Point(
        artefact="fp32",
        runtime="fake",
        batch_size=batch_size,
        instances=instances,
        threads=threads,
        rows_per_s=1e3 * batch_size * instances / ms,
        batch_p50_ms=ms,
        batch_p99_ms=ms,
        request_p50_ms=1.5 * ms,
        request_p99_ms=2 * ms,
        num_batches=100,
    )
    return figures.model_copy(update=changes)


def tuning_of(bundle: Bundle, *points: Point, device: DeviceInfo | None = None, **changes: Any) -> Tuning:
    """A tuning of this bundle on this machine, or the device that is named."""
    chosen = points or (point(),)
    limit = changes.get("p99_ms", LIMIT_MS)
    fields: dict[str, Any] = {
        "bundle_digest": bundle.manifest.digest,
        "device": device or device_info(ON_CPU),
        "runtimes": dict.fromkeys((one.runtime for one in chosen), ""),
        "p99_ms": limit,
        "row_shapes": {"image": (8, 8, 3)},
        "points": chosen,
        "chosen": best_point(chosen, limit),
        "measured_with": {"date": "2026-11-21T00:00:00+00:00", "seconds_per_point": "1", "rounds": "4"},
    }
    return Tuning(**fields | changes)


def tune_as(bundle: Bundle, *points: Point, cache: Path | None = None, **changes: Any) -> Path:
    """Leave a tuning with these points; returns its path."""
    return write_tuning(bundle, tuning_of(bundle, *points, **changes), cache)


def damage_tuning(bundle: Bundle, device: DeviceInfo | None = None) -> Path:
    """Change a figure in a tuning that is there, as nobody who writes one does."""
    path = tuning_path(bundle, device or device_info(ON_CPU))
    text = path.read_text(encoding="utf-8")
    changed = text.replace('"p99_ms": ', '"p99_ms": 1', 1)
    assert changed != text
    path.write_text(changed, encoding="utf-8")
    return path
