"""The simulated pod forms the batches that the real batcher forms, and refuses what it refuses."""

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.errors import Overloaded
from loadtests.capacity.arrivals import steady
from loadtests.capacity.cluster import ClusterSpec, simulate
from loadtests.capacity.outcome import End
from loadtests.capacity.pod import Pod, PodSpec, Unit
from loadtests.capacity.service_times import ServiceTimes
from tests.serving.doubling import SOON_S, Yard


class Turnstile(threading.Event):
    """Lets one batch through at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._through = threading.Semaphore(0)

    def set(self) -> None:
        self._through.release()

    def wait(self, timeout: float | None = None) -> bool:
        return self._through.acquire(timeout=timeout)


async def until(there: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not there():
            await asyncio.sleep(0.0005)


async def real(rounds: Sequence[int], largest: int, max_queue: int, quick: bool) -> tuple[list[int], int]:
    """Batches and refusals: each round so many requests come while a batch runs, and then that batch ends."""
    yard = Yard(max_batch_size=largest, max_queue=max_queue)
    yard.model.gate, yard.model.quick = Turnstile(), quick
    asked: list[asyncio.Future[list[float]]] = []
    refused = 0
    for coming in rounds:
        if yard.batcher.in_flight == 0:
            asked.append(yard.ask(b"1"))
        begun = len(yard.told.sizes)
        await until(lambda begun=begun: len(yard.model.alone) > begun)
        for _ in range(coming):
            try:
                asked.append(yard.ask(b"1"))
            except Overloaded:
                refused += 1
        yard.let_go()
        await until(lambda begun=begun: len(yard.told.sizes) > begun)
    while yard.batcher.in_flight:
        yard.let_go()
        await asyncio.sleep(0.001)
    await asyncio.gather(*asked)
    yard.lanes.close()
    return yard.told.sizes, refused


def simulated(rounds: Sequence[int], largest: int, max_queue: int, quick: bool) -> tuple[list[int], int]:
    prepare_ms = 0.0 if quick else 0.001
    spec = PodSpec(ServiceTimes({1: 1.0}, prepare_ms), largest, max_queue=max_queue)
    pod = Pod(spec, [0.0] * (sum(rounds) + len(rounds)), lambda: 1.0)
    sizes: list[int] = []
    number = refused = 0

    def running() -> Unit | None:
        """Prepares what comes first, as a lane does, up to the next batch."""
        while (unit := pod.take(0.0)) is not None and not unit.is_batch:
            pod.finish(unit)
        return unit

    def ended(batch: Unit) -> Unit | None:
        sizes.append(len(batch.entries))
        pod.finish(batch)
        return running()

    batch: Unit | None = None
    for coming in rounds:
        if pod.in_flight == 0:
            pod.offer(number, 0.0)
            number += 1
            batch = running()
        for _ in range(coming):
            refused += not pod.offer(number, 0.0)
            number += 1
        assert batch is not None
        batch = ended(batch)
    while batch is not None:
        batch = ended(batch)
    return sizes, refused


@given(
    rounds=st.lists(st.integers(0, 9), min_size=1, max_size=8),
    largest=st.integers(1, 5),
    max_queue=st.integers(1, 12),
    quick=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_batches_and_refusals_are_those_of_the_real_batcher(
    rounds: list[int], largest: int, max_queue: int, quick: bool
) -> None:
    assert simulated(rounds, largest, max_queue, quick) == asyncio.run(real(rounds, largest, max_queue, quick))


def test_what_waits_is_shared_among_free_lanes() -> None:
    pod = Pod(PodSpec(ServiceTimes({1: 1.0}), largest=8, lanes=2), [0.0] * 4, lambda: 1.0)
    assert [pod.offer(i, 0.0) for i in range(4)] == [True] * 4
    units = [pod.take(0.0), pod.take(0.0), pod.take(0.0)]
    assert [unit and len(unit.entries) for unit in units] == [2, 2, None]


def test_what_is_late_is_never_computed() -> None:
    pod = PodSpec(ServiceTimes({1: 10.0}), timeout_s=0.05)
    seen = simulate(pod, ClusterSpec(1), steady(200, 20).moments(1))
    assert seen.share_of(End.LATE) == pytest.approx(0.5, abs=0.05)
    answered = seen.latency_s[seen.ends == End.ANSWERED]
    assert answered.max() <= 0.06 + 1e-9  # begun in time, and then 10 ms


def test_an_overload_refuses_what_is_too_much_and_waiting_is_bounded_by_the_queue() -> None:
    pod = PodSpec(ServiceTimes({1: 10.0}), max_queue=20)
    seen = simulate(pod, ClusterSpec(1), steady(125, 200).moments(1))
    assert seen.share_of(End.SHED) == pytest.approx(1 - 100 / 125, abs=0.01)
    assert seen.latency_s[seen.ends == End.ANSWERED].max() <= 0.21 + 0.01 + 1e-9


def test_a_model_on_the_event_loop_refuses_nothing() -> None:
    pod = Pod(PodSpec(ServiceTimes({1: 0.1}), max_queue=2, here=True), [0.0] * 9, lambda: 1.0)
    assert [pod.offer(i, 0.0) for i in range(9)] == [True] * 9
    assert pod.gauges == (9, 9)


def test_batches_grow_with_the_load() -> None:
    pod = PodSpec(ServiceTimes({1: 4.0, 8: 18.0}), largest=8)
    means = [simulate(pod, ClusterSpec(1), steady(rate, 30).moments(1)).mean_batch for rate in (20, 150, 420)]
    assert means == sorted(means)
    assert 1 <= means[0] < 1.3 < 3 < means[2] <= 8


@given(
    st.dictionaries(st.integers(1, 64), st.floats(0.1, 500), min_size=1, max_size=5), st.floats(1, 5000),
    st.integers(1, 64),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_table_is_made_to_reach_a_rate(table: dict[int, float], rate: float, largest: int) -> None:
    times = ServiceTimes(table).to_reach(rate, largest)
    assert times.most_per_second(largest) == pytest.approx(rate)


def test_a_batch_between_two_sizes_takes_a_time_between() -> None:
    times = ServiceTimes({1: 4.0, 8: 18.0})
    assert times.seconds(1) == 0.004
    assert times.seconds(4) == pytest.approx(0.010)
    assert times.seconds(16) == pytest.approx(0.036)
    with pytest.raises(ValueError, match="expected sizes of at least 1"):
        ServiceTimes({})
