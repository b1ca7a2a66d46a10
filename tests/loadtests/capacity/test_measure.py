"""Measured steps: requests belong to the step in which they fell due, batches to the time between two scrapes."""

import json
import os

import pytest

from bundle.errors import RunError
from loadtests.capacity.one_processor import on, two_processors
from loadtests.capacity.scraped import batches
from loadtests.capacity.step_book import SETTLE_S, Moment, StepBook, from_plain, to_plain
from loadtests.traffic.case import Outcome
from loadtests.traffic.ledger import Ended

PAGE = """# TYPE modelyard_version_batches_total counter
modelyard_version_batches_total{{model="m",version="1",rows="1"}} {one}
modelyard_version_batches_total{{model="m",version="1",rows="4"}} {four}
# TYPE modelyard_version_batch_seconds_total counter
modelyard_version_batch_seconds_total{{model="m",version="1",rows="1"}} {one_s}
modelyard_version_batch_seconds_total{{model="m",version="1",rows="4"}} {four_s}
"""


def note(book: StepBook, due: float, outcome: Outcome = "good") -> None:
    book.note(Ended("classify raw", "/v1/classify", 200, outcome, "", due, due, due + 0.5, None))


def test_a_request_belongs_to_the_step_in_which_it_fell_due_whenever_it_is_answered() -> None:
    book = StepBook(begin=1000.0, seconds=10.0, steps=2)
    for due in (1000 + SETTLE_S, 1009.9, 1010 + SETTLE_S - 0.01, 1010 + SETTLE_S, 1019.99, 1020 + SETTLE_S, 999.0):
        note(book, due)
    assert [ledger.whole.outcomes["good"] for ledger in book.ledgers] == [2, 2]
    assert book.whole.outcomes["good"] == 7


def test_steps_survive_the_file() -> None:
    book = StepBook(begin=0.0, seconds=10.0, steps=1)
    note(book, 5.0)
    note(book, 6.0, "shed")
    moments = [(Moment(1.5, 3.0, "before"), Moment(10.0, 7.25, "after"))]
    (seen,) = from_plain(json.loads(json.dumps(to_plain(book, moments))))
    assert dict(seen.ledger.whole.outcomes) == {"good": 1, "shed": 1}
    assert (seen.seconds, seen.generator_busy) == (8.5, 0.5)
    assert (seen.begin.metrics, seen.end.metrics) == ("before", "after")


def test_batches_are_those_between_two_scrapes() -> None:
    before = PAGE.format(one=10, four=5, one_s=0.1, four_s=0.2)
    after = PAGE.format(one=40, four=15, one_s=0.7, four_s=0.7)
    seen = batches(after, before)
    assert seen.number == {1: 30, 4: 10}
    assert seen.mean_ms() == pytest.approx({1: 20, 4: 50})
    assert seen.mean_ms(least=20) == pytest.approx({1: 20})
    assert seen.mean_rows == pytest.approx(70 / 40)
    assert batches(before, before).mean_rows == 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_pod_and_generator_have_a_processor_each_and_one_is_too_few() -> None:
    before = os.sched_getaffinity(0)
    with on(min(before)):
        assert os.sched_getaffinity(0) == {min(before)}
        with pytest.raises(RunError, match="is all there is; a pod and its load generator need one each"):
            two_processors()
    assert os.sched_getaffinity(0) == before
