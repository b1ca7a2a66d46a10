"""The statistics extension: what a model version has done, as the protocol lays it out; every figure an integer.

Knows the layout. Knows nothing of who counts, or of HTTP and gRPC.
"""

from typing import Any

import msgspec


class Duration(msgspec.Struct):
    """How often, and how long in all."""

    count: int = 0
    ns: int = 0


class Counts(msgspec.Struct):
    """What a model version has done since it was loaded, over all processes of the service."""

    last_inference_ms: int = 0
    """Time of the last execution, since the epoch; 0 = never."""
    num_rows: int = 0
    """Rows that were answered (`inference_count`)."""
    num_batches: int = 0
    """Batches that were run (`execution_count`); rows over batches is the mean batch size."""
    success: Duration = msgspec.field(default_factory=Duration)
    """Requests that were answered, from their arrival on."""
    fail: Duration = msgspec.field(default_factory=Duration)
    queue: Duration = msgspec.field(default_factory=Duration)
    prepare: Duration = msgspec.field(default_factory=Duration)
    compute: Duration = msgspec.field(default_factory=Duration)
    decode: Duration = msgspec.field(default_factory=Duration)
    batches: dict[int, Duration] = msgspec.field(default_factory=dict)
    """Batch size -> batches of it, and their time."""


def statistics(models: list[tuple[str, int, Counts]]) -> dict[str, Any]:
    """(name, version, counts) of each model version -> the answer of the extension."""
    return {"model_stats": [_one(name, version, counts) for name, version, counts in models]}


def _one(name: str, version: int, counts: Counts) -> dict[str, Any]:
    return {
        "name": name,
        "version": str(version),
        "last_inference": counts.last_inference_ms,
        "inference_count": counts.num_rows,
        "execution_count": counts.num_batches,
        "inference_stats": {
            "success": _duration(counts.success),
            "fail": _duration(counts.fail),
            "queue": _duration(counts.queue),
            "compute_input": _duration(counts.prepare),
            "compute_infer": _duration(counts.compute),
            "compute_output": _duration(counts.decode),
            "cache_hit": _duration(Duration()),
            "cache_miss": _duration(Duration()),
        },
        "response_stats": {},
        "batch_stats": [_batch(size, counts.batches[size]) for size in sorted(counts.batches)],
        "memory_usage": [],
    }


def _batch(size: int, duration: Duration) -> dict[str, Any]:
    # Inputs are prepared before they are batched and answers decoded after: that time belongs to no batch.
    apart = _duration(Duration(duration.count, 0))
    return {
        "batch_size": size,
        "compute_input": apart,
        "compute_infer": _duration(duration),
        "compute_output": apart,
    }


def _duration(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": duration.ns}
