"""Threads over sources: all work is done, side by side, and no source is starved."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from serving.batching.lanes import Lanes, Unit

SOON_S = 10


class Units:
    """A source of as many units as were added."""

    def __init__(self, lanes: Lanes, unit: Callable[[bool], None]) -> None:
        self.service_s = 0.0
        self.left = 0
        self.done = 0
        self._lanes = lanes
        self._unit = unit
        self._all_done = threading.Event()
        lanes.add(self)

    def put(self, number: int) -> None:
        with self._lanes.lock:
            if not self.left:
                self._lanes.starts(self)
            for _ in range(number):
                self.left += 1
                self._lanes.wake()

    def ready(self) -> bool:
        return self.left > 0

    def take(self, free_lanes: int, alone: bool) -> Unit:
        self.left -= 1

        def unit() -> None:
            self._unit(alone)
            with self._lanes.lock:
                self.done += 1

        return unit

    def wait_for(self, number: int) -> None:
        deadline = time.monotonic() + SOON_S
        while self.done < number:
            assert time.monotonic() < deadline, f"{self.done} of {number} units done"
            time.sleep(0.001)


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    lanes = Lanes(2)
    yield lanes
    lanes.close()


def test_every_unit_of_every_source_is_done(lanes: Lanes) -> None:
    sources = [Units(lanes, lambda _: None) for _ in range(3)]
    for _ in range(50):
        for source in sources:
            source.put(4)
    for source in sources:
        source.wait_for(200)


def test_as_many_units_run_side_by_side_as_there_are_lanes(lanes: Lanes) -> None:
    meeting = threading.Barrier(2, timeout=SOON_S)
    source = Units(lanes, lambda _: meeting.wait() and None)
    source.put(2)
    source.wait_for(2)


def test_a_unit_that_fails_takes_no_lane_with_it(lanes: Lanes, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: bool) -> None:
        raise ValueError("broken")

    Units(lanes, fail).put(4)
    good = Units(lanes, lambda _: None)
    good.put(4)
    good.wait_for(4)
    assert "broken" in caplog.text


def test_a_unit_is_alone_only_where_nothing_else_runs(lanes: Lanes) -> None:
    seen: list[bool] = []
    go = threading.Event()

    def note(alone: bool) -> None:
        seen.append(alone)
        assert go.wait(SOON_S)

    source = Units(lanes, note)
    source.put(1)
    while len(seen) < 1:
        time.sleep(0.001)
    source.put(1)
    while len(seen) < 2:
        time.sleep(0.001)
    go.set()
    source.wait_for(2)
    assert seen == [True, False]


def test_a_source_that_was_idle_waits_for_one_unit_of_a_flooding_one_at_most() -> None:
    lanes = Lanes(1)
    order: list[str] = []
    entered, go = threading.Event(), threading.Event()

    def flood(_: bool) -> None:
        order.append("flood")
        entered.set()
        assert go.wait(SOON_S)

    flooding, quiet = Units(lanes, flood), Units(lanes, lambda _: order.append("quiet"))
    flooding.put(100)
    assert entered.wait(SOON_S)
    quiet.put(1)
    go.set()
    flooding.wait_for(100)
    quiet.wait_for(1)
    lanes.close()
    assert order.index("quiet") == 1


def test_two_flooding_sources_get_equal_time_not_equal_turns() -> None:
    lanes = Lanes(1)
    slow, fast = Units(lanes, lambda _: time.sleep(0.004)), Units(lanes, lambda _: time.sleep(0.001))
    slow.put(1000)
    fast.put(1000)
    slow.wait_for(25)
    shares = slow.service_s, fast.service_s
    with lanes.lock:
        slow.left = fast.left = 0
    lanes.close()
    assert 0.5 < shares[0] / shares[1] < 2.0


def test_a_source_does_not_save_up_while_it_is_idle() -> None:
    lanes = Lanes(1)
    busy = Units(lanes, lambda _: time.sleep(0.002))
    busy.put(50)
    busy.wait_for(50)
    late = Units(lanes, lambda _: time.sleep(0.002))
    busy.put(20)
    late.put(20)
    busy.wait_for(55)
    assert late.done < 15
    late.wait_for(20)
    lanes.close()
