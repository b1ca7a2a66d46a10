"""How batches are laid out on GPUs; on processors tests/serving/repository/test_served.py says it."""

from pathlib import Path
from typing import Any

import pytest

from bundle.evidence import Latency
from runtime.choice import Choice, Wanted
from runtime.runtime import Placement
from serving.batching.layout import Given, LaidOut, lay_out
from serving.batching.placing import Placed
from serving.repository.model_settings import ModelSettings
from tests.engine_records import GPU


def on_gpus(
    number: int = 1, slots: int = 2, table: dict[int, float] | None = None, num_lanes: int = 16, **settings: Any
) -> LaidOut:
    latency = Latency(threads=1, median_ms=table) if table else None
    choice = Choice("fp16", "fp16", "tensorrt", Path("plan"), 0.01, GPU, latency)
    placed = Placed(GPU, tuple(Placement("cuda", i, slots=slots) for i in range(number)), Wanted())
    return lay_out(32, choice, placed, ModelSettings(**settings), Given(num_lanes))


@pytest.mark.parametrize(("number", "slots"), [(1, 1), (1, 2), (2, 2), (4, 3)])
def test_as_many_batches_run_at_once_as_gpus_have_places(number: int, slots: int) -> None:
    policy = on_gpus(number, slots).policy
    assert (policy.instances, policy.num_gpus) == (number * slots, number)


def test_never_more_than_there_are_threads_to_wait() -> None:
    assert on_gpus(4, 3, num_lanes=5).policy.instances == 5


def test_a_model_may_have_fewer() -> None:
    assert on_gpus(2, 2, instances=3).policy.instances == 3
    assert on_gpus(2, 2, instances=30).policy.instances == 4


def test_no_engine_for_a_gpu_is_given_more_than_one_processor() -> None:
    laid_out = on_gpus(table={1: 1.0}, layout="latency", threads=8)
    assert (laid_out.threads, laid_out.wide_threads, laid_out.policy.instances) == (1, None, 2)


def test_however_quick_it_is_nothing_waits_for_a_gpu_on_the_event_loop() -> None:
    assert not on_gpus(table={1: 0.01}).policy.here


def test_batches_are_as_large_as_makes_rows_cheaper_on_that_gpu() -> None:
    assert on_gpus(table={1: 1.0, 8: 1.1, 32: 4.3}).policy.largest == 8
    assert on_gpus().policy.largest == 32, "nothing was measured there"


def test_the_ladder_leads_to_the_largest_batch() -> None:
    assert on_gpus(max_batch_size=12).batch_ladder == (1, 2, 4, 8, 12)
    assert on_gpus(max_batch_size=1).batch_ladder == (1,)
