"""Counts over all runs of a job, and when it is stopped."""

import pytest

from bundle.errors import TooManyErrors
from scoring.journal import Done
from scoring.scorer import Scored
from scoring.shards import Chunk
from scoring.source import Row
from scoring.tally import MIN_ROWS_TO_JUDGE, Tally


def add(tally: Tally, good: int, bad: int) -> None:
    rows = [Row("file", i, bytes) for i in range(good + bad)]
    answer = Done(0, 0, 0, 0, {})  # any struct
    tally.add(Chunk(0, 0, rows), [Scored(answer)] * good + [Scored(None, "BadInput", "why")] * bad)


def test_what_was_finished_before_counts() -> None:
    finished = [Done(0, 0, 10, 8, {"BadInput": 2}, "part", 9), Done(0, 1, 10, 0, {})]
    tally = Tally.of(finished)
    add(tally, 3, 1)
    assert (tally.num_rows, tally.rows_now, tally.num_errors, tally.num_parts) == (12, 4, 3, 1)
    assert tally.example == "file, row 3: why"


def test_a_job_is_held_to_its_share() -> None:
    tally = Tally()
    add(tally, MIN_ROWS_TO_JUDGE // 2, MIN_ROWS_TO_JUDGE // 2 - 1)
    tally.hold(0.1, at_end=False)  # too few to judge
    with pytest.raises(TooManyErrors, match="49 of 99 rows are bad"):
        tally.hold(0.1, at_end=True)
    add(tally, 0, 1)
    tally.hold(0.5, at_end=False)
    with pytest.raises(TooManyErrors, match="the first: file, row 50: why"):
        tally.hold(0.49, at_end=False)
    Tally().hold(0.0, at_end=True)
