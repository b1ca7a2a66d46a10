"""Score on this machine: reading, computing and writing at once, within a fixed window, so memory stays the same.

Each worker takes a chunk from raw inputs to finished columns (reading files, decoding and the engine all release the
GIL); chunks are written in their order. Knows chunks, a scorer and a target. Knows nothing of models or of where
inputs come from.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pyarrow as pa

from bundle.errors import DataError
from scoring.columns import Rows, table_of
from scoring.scorer import Scored, Scorer
from scoring.shards import Chunk
from scoring.source import Source
from scoring.tally import Tally
from scoring.target import ShardWriter, Target, part_name

AHEAD = 2
"""Chunks that wait for each worker."""

Told = Callable[[int, Counter[str]], None]
"""(rows that were written, errors among them by class)."""
Answered = tuple[list[Scored], pa.RecordBatch]


class LocalRunner:
    """Runs chunks on threads."""

    def __init__(self, scorer: Scorer, workers: int, told: Told) -> None:
        self._scorer = scorer
        self._workers = workers
        self._told = told

    def run(self, source: Source, todo: Iterator[Chunk], target: Target, tally: Tally, max_error_share: float) -> None:
        """Score and write all, and count it; finished shards are finished whatever happens afterwards.

        Raises:
            TooManyErrors, DataError, DeviceLost: as they say.
        """
        writer = ShardWriter(target)
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="modelyard-score")
        try:
            for chunk, answered in self._answered(source, todo, target, pool):
                self._take(writer, tally, chunk, *answered)
                tally.hold(max_error_share, at_end=False)
            tally.hold(max_error_share, at_end=True)
        finally:
            self._scorer.stop()
            pool.shutdown(cancel_futures=True)
            writer.discard()

    def _answered(
        self, source: Source, todo: Iterator[Chunk], target: Target, pool: ThreadPoolExecutor
    ) -> Iterator[tuple[Chunk, Answered]]:
        """Chunks with their answers, in order. Where reading ends with an error, what was read before comes first."""
        window: deque[tuple[Chunk, Future[Answered]]] = deque()
        ended: DataError | None = None
        while ended is None:
            try:
                chunk = next(todo, None)
            except DataError as cause:
                ended, chunk = cause, None
            if chunk is None:
                break
            window.append((chunk, pool.submit(self._work, source, chunk, target)))
            if len(window) > self._workers * (1 + AHEAD):
                first, answered = window.popleft()
                yield first, answered.result()
        for first, answered in window:
            yield first, answered.result()
        if ended is not None:
            raise ended

    def _work(self, source: Source, chunk: Chunk, target: Target) -> Answered:
        scored = self._scorer([row.raw for row in chunk.rows])
        kept = {column.name: [row.kept[i] for row in chunk.rows] for i, column in enumerate(source.kept)}
        rows = Rows([row.source for row in chunk.rows], [row.number for row in chunk.rows], kept, scored)
        save = partial(target.save, part_name(chunk)) if target.pictures == "files" else None
        return scored, table_of(target.schema, self._scorer.predictor.manifest, rows, save)

    def _take(
        self, writer: ShardWriter, tally: Tally, chunk: Chunk, scored: list[Scored], batch: pa.RecordBatch
    ) -> None:
        tally.add(chunk, scored)
        done = writer.take(chunk, scored, batch)
        tally.num_parts += bool(done and done.part)
        self._told(len(scored), Counter(one.cause for one in scored if one.cause))
