"""What `modelyard tune` tells a person: the table of points, the chosen one, and what the service will do with it.

Knows a tuning. Knows nothing of measuring or drawing.
"""

from pathlib import Path

from bundle.device import DeviceInfo
from bundle.manifest import Manifest
from bundle.tuning import Point, Tuning

HEADINGS = (
    "", "artefact", "runtime", "batch", "instances", "threads", "rows/s", "batch p50", "batch p99", "request p99",
    "timed", "",
)  # fmt: skip
LEFT = (0, 1, 2, 11)
"""Columns of words; the others are numbers."""
MARK = "->"
BUSY = 0.3
"""A machine with so much load a processor, before tuning began, is busy with something else."""


def report(manifest: Manifest, tuning: Tuning) -> str:
    """All of it but the names of files."""
    shapes = ", ".join(f"{name} {list(shape)}" for name, shape in tuning.row_shapes.items())
    seconds, rounds = tuning.measured_with["seconds_per_point"], tuning.measured_with["rounds"]
    versions = ", ".join(f"{runtime} {version}".strip() for runtime, version in tuning.runtimes.items())
    return "\n".join(
        [
            f"{manifest.name} version {manifest.version} on {tuning.device}, {versions}",
            f"limit: p99 of a request {tuning.p99_ms:g} ms; each setting {seconds} s in {rounds} rounds; times in ms",
            f"a row: {shapes}",
            "",
            *_table(tuning),
            "",
            *_outcome(tuning),
            *_busy(tuning),
        ]
    )


def _table(tuning: Tuning) -> list[str]:
    rows = [HEADINGS, *(_row(point, tuning) for point in tuning.points)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return ["  ".join(_aligned(row, widths)).rstrip() for row in rows]


def _aligned(row: tuple[str, ...], widths: list[int]) -> list[str]:
    return [
        cell.ljust(width) if column in LEFT else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


def _row(point: Point, tuning: Tuning) -> tuple[str, ...]:
    return (
        MARK if point == tuning.chosen else "",
        point.artefact,
        point.runtime,
        str(point.batch_size),
        str(point.instances),
        str(point.threads),
        figure(point.rows_per_s),
        figure(point.batch_p50_ms),
        figure(point.batch_p99_ms),
        figure(point.request_p99_ms),
        str(point.num_batches),
        "chosen" if point == tuning.chosen else "" if point.holds(tuning.p99_ms) else "over",
    )


def figure(value: float) -> str:
    """Three digits or more, and no exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


def _outcome(tuning: Tuning) -> list[str]:
    chosen, limit = tuning.chosen, f"{tuning.p99_ms:g} ms"
    served = f"modelyard serve on this device: {in_service(chosen, tuning.device)}"
    if tuning.holds:
        return [f"chosen: {figure(chosen.rows_per_s)} rows/s within {limit}", served]
    return [
        f"NO SETTING HOLDS {limit}: the nearest takes {figure(chosen.request_p99_ms)} ms, and is chosen;",
        f"ask for at least that, tune a smaller or quicker artefact, or a faster device ({tuning.device} is this one)",
        served,
    ]


def _busy(tuning: Tuning) -> list[str]:
    load, processors = float(tuning.measured_with.get("load_average", 0)), tuning.device.num_cpus
    if not processors or load < BUSY * processors:
        return []
    return [
        f"the machine was busy (load {load:g} on {processors} processors before the first batch): "
        "figures of a quiet one will be better"
    ]


def in_service(point: Point, device: DeviceInfo) -> str:
    """What the service does with a point, in words."""
    size = f"batches of at most {point.batch_size}"
    if device.kind == "cuda":
        how = f"{point.instances} at once on the GPU"
    elif point.threads > 1:
        how = f"one at a time on {point.threads} processors"
    else:
        how = f"{point.instances} at once on one processor each"
    return f"'{point.artefact}' in {point.runtime}, {size}, {how}"


def afterwards(engines: Path | None) -> str:
    """What a person must know to have it in force."""
    flag = f" --engines {engines}" if engines else ""
    return (
        f"`modelyard serve{flag}` reads it; one that runs takes it up by itself, within --poll-s.\n"
        "serving.toml and flags go before it."
    )
