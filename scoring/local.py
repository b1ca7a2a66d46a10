"""Score on this machine: reading, computing and writing at once, within a fixed window, so memory stays the same.

Each worker takes a chunk from raw inputs to finished columns (reading files, decoding and the engine all release the
GIL); chunks are written in their order. Knows chunks, a scorer and parts. Knows nothing of models or of where inputs
come from.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import pyarrow as pa

from bundle.errors import TooManyErrors
from scoring.columns import Rows, table_of
from scoring.journal import Done, Journal
from scoring.parts import Format, Part
from scoring.scorer import Scored, Scorer
from scoring.shards import Chunk
from scoring.source import Source
from scoring.store import Place, write_file

AHEAD = 2
"""Chunks that wait for each worker."""
MIN_ROWS_TO_JUDGE = 100
"""Before so many rows nobody can tell what share of them is bad; at the end any number counts."""


@dataclass
class Tally:
    """What has been done so far."""

    num_rows: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    """The first of each class of error: where, and its message."""

    @property
    def num_errors(self) -> int:
        """Rows without an answer."""
        return sum(self.errors.values())

    def add(self, chunk: Chunk, scored: list[Scored]) -> None:
        """Count rows."""
        self.num_rows += len(scored)
        for row, one in zip(chunk.rows, scored, strict=True):
            if one.cause:
                self.errors[one.cause] += 1
                self.examples.setdefault(one.cause, f"{row.source}, row {row.number}: {one.error}")

    def hold(self, max_error_share: float, at_end: bool) -> None:
        """Stop a job that goes wrong.

        Raises:
            TooManyErrors: more rows than that share are bad.
        """
        if self.num_rows < MIN_ROWS_TO_JUDGE and not at_end:
            return
        if self.num_errors > max_error_share * self.num_rows:
            first = next(iter(self.examples.values()), "")
            raise TooManyErrors(
                f"{self.num_errors} of {self.num_rows} rows are bad, more than --max-error-share {max_error_share:g} "
                f"allows; the first: {first}; what is finished stays, and the same command goes on once that is mended"
            )


@dataclass(frozen=True)
class Target:
    """Where answers go, and in which form."""

    output: Place
    journal: Journal
    schema: pa.Schema
    format: Format
    pictures: Literal["columns", "files"] = "columns"

    def save(self, part: str, number: int, column: str, picture: bytes) -> str:
        """Put a picture of an answer into a file; its path below the output.

        Raises:
            DataError: the store does not take it.
        """
        name = f"pictures/{part}/{number:07}.{column}.png"
        write_file(self.output.below(name), picture)
        return name


@dataclass
class _Open:
    """The shard that is being written."""

    file: int
    shard: int
    part: Part | None = None
    num_scored: int = 0
    errors: Counter[str] = field(default_factory=Counter)


class LocalRunner:
    """Runs chunks on threads."""

    def __init__(self, scorer: Scorer, workers: int, told: Callable[[int, Counter[str]], None]) -> None:
        self._scorer = scorer
        self._workers = workers
        self._told = told
        self.tally = Tally()

    def run(self, source: Source, todo: Iterator[Chunk], target: Target, max_error_share: float) -> Tally:
        """Score and write all; finished shards are finished whatever happens afterwards.

        Raises:
            TooManyErrors, DataError, DeviceLost: as they say.
        """
        window: deque[tuple[Chunk, Future[tuple[list[Scored], pa.RecordBatch]]]] = deque()
        current: _Open | None = None
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="modelyard-score")
        try:
            for chunk in todo:
                window.append((chunk, pool.submit(self._work, source, chunk, target)))
                if len(window) > self._workers * (1 + AHEAD):
                    current = self._take(current, *window.popleft(), target)
                    self.tally.hold(max_error_share, at_end=False)
            while window:
                current = self._take(current, *window.popleft(), target)
            self.tally.hold(max_error_share, at_end=True)
        finally:
            pool.shutdown(cancel_futures=True)
        return self.tally

    def _work(self, source: Source, chunk: Chunk, target: Target) -> tuple[list[Scored], pa.RecordBatch]:
        scored = self._scorer([row.raw for row in chunk.rows])
        kept = {column.name: [row.kept[i] for row in chunk.rows] for i, column in enumerate(source.kept)}
        rows = Rows([row.source for row in chunk.rows], [row.number for row in chunk.rows], kept, scored)
        save = partial(target.save, part_name(chunk)) if target.pictures == "files" else None
        return scored, table_of(target.schema, self._scorer.predictor.manifest, rows, save)

    def _take(
        self,
        current: _Open | None,
        chunk: Chunk,
        future: "Future[tuple[list[Scored], pa.RecordBatch]]",
        target: Target,
    ) -> _Open | None:
        """Write one chunk, and finish its shard where it is the last."""
        scored, batch = future.result()
        shard = current or _Open(chunk.file, chunk.shard)
        name = part_name(chunk)
        if scored:
            shard.part = shard.part or Part(target.output, name, target.schema, target.format)
            shard.part.write(batch)
        self.tally.add(chunk, scored)
        errors = Counter(one.cause for one in scored if one.cause)
        shard.errors += errors
        shard.num_scored += len(scored)
        self._told(len(scored), errors)
        if chunk.num_read is None:
            return shard
        if shard.part is not None:
            shard.part.commit()
        part = f"{name}.{target.format}" if shard.part else ""
        target.journal.finish(
            name,
            Done(shard.file, shard.shard, chunk.num_read, shard.num_scored, dict(sorted(shard.errors.items())), part),
        )
        return None


def part_name(chunk: Chunk) -> str:
    """Of the part that a chunk goes into."""
    return f"part-{chunk.file:05}-{chunk.shard:05}"
