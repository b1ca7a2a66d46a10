"""Where answers go: the parts of an output, one shard after the other, each written down once it is whole.

Knows chunks, parts and the journal. Knows nothing of models or of where inputs come from.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

from scoring.journal import Done, Journal
from scoring.parts import Format, Part
from scoring.scorer import Scored
from scoring.shards import Chunk
from scoring.store import Place, put, settle


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
        put(self.output, name, picture, durable=False)  # all of a shard are made durable at once, at its end
        return name


@dataclass
class _Open:
    """The shard that is being written."""

    part: Part | None = None
    num_scored: int = 0
    errors: Counter[str] = field(default_factory=Counter)


class ShardWriter:
    """Takes the chunks of a shard in their order; then those of the next one."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._open = _Open()

    def take(self, chunk: Chunk, scored: list[Scored], batch: pa.RecordBatch) -> Done | None:
        """Write one chunk; with the last one of a shard, what is finished.

        Raises:
            DataError: the store does not take it.
        """
        shard, target = self._open, self._target
        name = part_name(chunk)
        if scored or (chunk.file, chunk.shard) == (0, 0):  # the first part is there in any case: it shows the columns
            shard.part = shard.part or Part(target.output, name, target.schema, target.format)
            shard.part.write(batch)
        shard.errors.update(one.cause for one in scored if one.cause)
        shard.num_scored += len(scored)
        if chunk.num_read is None:
            return None
        done = self._finish(chunk, chunk.num_read)
        target.journal.finish(name, done)
        self._open = _Open()
        return done

    def discard(self) -> None:
        """Leave nothing of a shard that is not finished."""
        if self._open.part is not None:
            self._open.part.discard()

    def _finish(self, chunk: Chunk, num_read: int) -> Done:
        shard = self._open
        done = Done(chunk.file, chunk.shard, num_read, shard.num_scored, dict(sorted(shard.errors.items())))
        if shard.part is None:
            return done
        if self._target.pictures == "files" and self._target.output.is_local:
            settle()
        num_bytes = shard.part.commit()
        return Done(done.file, done.shard, num_read, done.num_scored, done.errors, shard.part.name, num_bytes)


def part_name(chunk: Chunk) -> str:
    """Of the part that a chunk goes into."""
    return f"part-{chunk.file:05}-{chunk.shard:05}"
