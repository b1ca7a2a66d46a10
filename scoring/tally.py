"""Counts of a job: rows, errors by their class, and when it has gone wrong too far.

Knows scored rows. Knows nothing of where they go.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from bundle.errors import TooManyErrors
from scoring.journal import Done
from scoring.scorer import Scored
from scoring.shards import Chunk

MIN_ROWS_TO_JUDGE = 100
"""Before so many rows nobody can tell what share of them is bad; at the end any number counts."""


@dataclass
class Tally:
    """What has been done, in all runs of a job and in this one."""

    num_rows: int = 0
    rows_now: int = 0
    """Of them, by this run."""
    num_parts: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    example: str = ""
    """The first bad row of this run: where, and its message."""

    @classmethod
    def of(cls, finished: Iterable[Done]) -> "Tally":
        """What earlier runs have finished."""
        tally = cls()
        for done in finished:
            tally.num_rows += done.num_scored
            tally.num_parts += bool(done.part)
            tally.errors.update(done.errors)
        return tally

    @property
    def num_errors(self) -> int:
        """Rows without an answer."""
        return self.errors.total()

    def add(self, chunk: Chunk, scored: list[Scored]) -> None:
        """Count rows."""
        self.num_rows += len(scored)
        self.rows_now += len(scored)
        for row, one in zip(chunk.rows, scored, strict=True):
            if one.cause:
                self.errors[one.cause] += 1
                self.example = self.example or f"{row.source}, row {row.number}: {one.error}"

    def count(self, done: Done, example: str = "") -> None:
        """Count a shard that somebody else has scored, and its first bad row."""
        self.num_rows += done.num_scored
        self.rows_now += done.num_scored
        self.num_parts += bool(done.part)
        self.errors.update(done.errors)
        self.example = self.example or example

    def hold(self, max_error_share: float, at_end: bool) -> None:
        """Stop a job that goes wrong.

        Raises:
            TooManyErrors: more rows than that share are bad.
        """
        if self.num_rows < MIN_ROWS_TO_JUDGE and not at_end:
            return
        if self.num_errors > max_error_share * self.num_rows:
            first = f"; the first: {self.example}" if self.example else ""
            raise TooManyErrors(
                f"{self.num_errors} of {self.num_rows} rows are bad, more than --max-error-share {max_error_share:g} "
                f"allows{first}; parts that are finished stay"
            )
