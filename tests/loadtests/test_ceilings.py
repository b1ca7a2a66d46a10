"""Ceilings: what is done without HTTP, by every layout of threads."""

import time

from bundle.store import Bundle
from loadtests.ceilings import Layout, alone, by_hand, measure, together
from loadtests.questions import document
from runtime.predictor import load_predictor
from tests.builders import png


def test_one_request_gets_one_processor_or_all_and_many_get_one_each() -> None:
    assert list(map(str, alone(2))) == ["1 x 1", "1 x 2", "1 x 2 spinning"]
    assert list(map(str, together(4))) == ["1 x 1", "4 x 1"]
    assert alone(1) == together(1) == [Layout(1, 1)]


def test_callers_work_side_by_side() -> None:
    one, two = (measure(lambda _: time.sleep(0.01), Layout(callers, 1), 0.3) for callers in (1, 2))
    assert one.p50_ms >= 10
    assert two.per_second > 1.2 * one.per_second


def test_without_http_the_answer_is_the_same(fake_bundle: Bundle) -> None:
    bodies = [png(seed=seed) for seed in range(2)]
    work = by_hand(fake_bundle.folder, bodies, Layout(1, 1))
    predictor = load_predictor(fake_bundle)
    assert [work(turn) for turn in range(3)] == [document(predictor, bodies[turn % 2]) for turn in range(3)]
