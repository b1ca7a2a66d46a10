"""Score on this machine: reading, computing and writing at once, within a fixed window, so memory stays the same.

Each worker takes a chunk from raw inputs to finished columns (reading files, decoding and the engine all release the
GIL); chunks are written in their order. Knows chunks, a scorer and a target. Knows nothing of models or of where
inputs come from.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

import pyarrow as pa

from scoring.columns import Rows, table_of
from scoring.in_order import in_order
from scoring.journal import Done
from scoring.scorer import Scored, Scorer
from scoring.shards import Chunk
from scoring.source import Source
from scoring.tally import Tally
from scoring.target import ShardWriter, Target, part_name

Told = Callable[[int, Counter[str]], None]
"""(rows that were written, errors among them by class)."""
Answered = tuple[list[Scored], pa.RecordBatch]


class LocalRunner:
    """Runs chunks on threads."""

    def __init__(self, scorer: Scorer, workers: int, told: Told) -> None:
        self._scorer = scorer
        self._workers = workers
        self._told = told

    def run(
        self, source: Source, todo: Iterator[Chunk], target: Target, tally: Tally, max_error_share: float
    ) -> list[Done]:
        """Score and write all, and count it. Finished shards, which are returned, stay so whatever happens then.

        Raises:
            TooManyErrors, DataError, DeviceLost: as they say.
        """
        finished: list[Done] = []
        writer = ShardWriter(target)
        work = partial(self._work, source, target)
        try:
            with closing(in_order(todo, work, self._workers, self._scorer.stop)) as answered:
                for chunk, (scored, batch) in answered:
                    finished += self._take(writer, tally, chunk, scored, batch)
                    tally.hold(max_error_share, at_end=False)
            tally.hold(max_error_share, at_end=True)
        finally:
            writer.discard()
        return finished

    def _work(self, source: Source, target: Target, chunk: Chunk) -> Answered:
        scored = self._scorer([row.raw for row in chunk.rows])
        kept = {column.name: [row.kept[i] for row in chunk.rows] for i, column in enumerate(source.kept)}
        rows = Rows([row.source for row in chunk.rows], [row.number for row in chunk.rows], kept, scored)
        save = partial(target.save, part_name(chunk)) if target.pictures == "files" else None
        return scored, table_of(target.schema, self._scorer.predictor.manifest, rows, save)

    def _take(
        self, writer: ShardWriter, tally: Tally, chunk: Chunk, scored: list[Scored], batch: pa.RecordBatch
    ) -> list[Done]:
        tally.add(chunk, scored)
        done = writer.take(chunk, scored, batch)
        tally.num_parts += bool(done and done.part)
        self._told(len(scored), Counter(one.cause for one in scored if one.cause))
        return [done] if done else []
