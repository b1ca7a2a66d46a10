"""Batches become smaller where memory was short, and the log says so without being flooded."""

import pytest

from serving.batching.shortage import TELL_EVERY_S, Shortage


def test_half_of_what_did_not_fit_is_the_largest_from_then_on() -> None:
    shortage = Shortage("model 'm' version 1", 32)
    assert (shortage.largest, shortage.remark) == (32, "")
    assert shortage.met(20) == 10
    assert shortage.remark == (
        "its batches are of at most 10 rows in place of 32, since the memory of its device was short; load it again "
        "to try larger ones"
    )


def test_several_batches_of_one_size_at_once_lower_it_once() -> None:
    shortage = Shortage("model 'm' version 1", 32)
    assert [shortage.met(32), shortage.met(32)] == [16, 16]


def test_it_never_grows_and_never_reaches_nothing() -> None:
    shortage = Shortage("model 'm' version 1", 4)
    assert [shortage.met(3), shortage.met(4), shortage.met(1)] == [1, 1, 1]


def test_the_log_is_told_at_most_every_so_often_with_what_it_missed(caplog: pytest.LogCaptureFixture) -> None:
    clock = [0.0]
    shortage = Shortage("model 'm' version 1", 32, lambda: clock[0])
    for clock[0] in (0.0, 1.0, TELL_EVERY_S - 0.1, TELL_EVERY_S):
        shortage.met(8)
    assert [record.getMessage() for record in caplog.records] == [
        "model 'm' version 1: its device's memory did not hold a batch of 8 rows; the largest batch is now 4",
        "model 'm' version 1: its device's memory did not hold a batch of 8 rows, as 2 batches before it since this "
        "was last told; the largest batch is now 4",
    ]
