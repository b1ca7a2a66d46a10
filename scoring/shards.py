"""How a job is cut: shards, which are finished one by one, and chunks, which are computed one by one.

A shard is a fixed number of rows of one file, so finished ones can be skipped by counting. A chunk never crosses a
shard's end and ends where its rows say so, so that a job that is started again computes the same chunks. Knows rows.
Knows nothing of models.
"""

import hashlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from scoring.journal import Done
from scoring.source import Row, Source

CHUNK_BYTES = 8 * 2**20
"""Of inputs that are in memory already; a chunk ends where it has so many."""


@dataclass(frozen=True)
class Cut:
    """Sizes."""

    rows_per_shard: int
    rows_per_chunk: int
    limit: int | None = None
    """Rows of the input, in all."""
    sample: float | None = None
    """Share of the rows that is scored, the same rows every time."""


@dataclass(frozen=True)
class Chunk:
    """Rows of one shard; the last one of a shard says how many it had."""

    file: int
    shard: int
    rows: list[Row] = field(default_factory=list)
    num_read: int | None = None


class Shard(msgspec.Struct, frozen=True):
    """One that is left to do."""

    file: int
    shard: int
    wanted: int
    """Rows of the input, at most."""


def chunks(source: Source, cut: Cut, finished: Mapping[tuple[int, int], Done]) -> Iterator[Chunk]:
    """All that is left to do, in order."""
    left = cut.limit
    for file in range(len(source.files)):
        reader: Iterator[Row] | None = None
        shard = -1
        while left is None or left > 0:
            shard += 1
            done = finished.get((file, shard))
            if done is not None:
                num_read, reader = done.num_read, None
            else:
                reader = reader or source.rows(file, shard * cut.rows_per_shard)
                wanted = cut.rows_per_shard if left is None else min(left, cut.rows_per_shard)
                num_read = yield from shard_chunks(reader, cut, file, shard, wanted)
            left = None if left is None else left - num_read
            if num_read < cut.rows_per_shard:
                break


def shards(source: Source, cut: Cut, finished: Mapping[tuple[int, int], Done]) -> Iterator[Shard]:
    """The same shard by shard, for whoever computes several at once.

    How many rows a file has must be known before: one that does not tell is read through for it, unless it is finished.
    """
    left = cut.limit
    for file in range(len(source.files)):
        size: int | None = None
        shard = -1
        while left is None or left > 0:
            shard += 1
            before, done = shard * cut.rows_per_shard, finished.get((file, shard))
            wanted = cut.rows_per_shard if left is None else min(left, cut.rows_per_shard)
            if done is None:
                size = source.count(file, None if left is None else before + left) if size is None else size
                yield Shard(file, shard, wanted)
            num_read = done.num_read if done is not None else max(0, min(wanted, (size or 0) - before))
            left = None if left is None else left - num_read
            if num_read < cut.rows_per_shard:
                break


def shard_chunks(reader: Iterator[Row], cut: Cut, file: int, shard: int, wanted: int) -> Generator[Chunk, None, int]:
    """Chunks of one shard, whose rows the reader gives next; returns how many of the `wanted` rows there were.

    The last one is there even where it has no rows: a shard without rows is finished like any other.
    """
    rows: list[Row] = []
    num_read = held = 0
    for row in islice(reader, wanted):
        num_read += 1
        if cut.sample is None or chosen(file, row.number, cut.sample):
            rows.append(row)
            held += row.num_bytes
        if len(rows) == cut.rows_per_chunk or held >= CHUNK_BYTES:
            yield Chunk(file, shard, rows)
            rows, held = [], 0
    yield Chunk(file, shard, rows, num_read)
    return num_read


def chosen(file: int, number: int, share: float) -> bool:
    """Whether a row belongs to a sample: by its place alone, so that every run takes the same."""
    digest = hashlib.blake2b(f"{file}:{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64
