"""Threads that load: humble once there is traffic, and gone when told to."""

import os
import sys
import threading

import pytest

from serving.repository.hands import LOW_PRIORITY, Hands, Stopped

pytestmark = pytest.mark.anyio


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux knows the priority of a thread")
async def test_proving_beside_traffic_has_a_low_priority_and_building_has_that_of_traffic() -> None:
    hands, mine = Hands(at_start=2), niceness()
    try:
        assert await hands.prove(niceness) == await hands.build(niceness) == mine
        hands.started()
        assert await hands.prove(niceness) == min(mine + LOW_PRIORITY, 19)
        assert await hands.build(niceness) == mine
        assert niceness() == mine
    finally:
        hands.close()


async def test_nothing_is_begun_after_the_end() -> None:
    hands = Hands(at_start=1)
    hands.close()
    with pytest.raises(Stopped):
        await hands.prove(niceness)


async def test_what_fails_fails_for_its_caller_and_nobody_else() -> None:
    hands = Hands(at_start=1)
    try:
        with pytest.raises(ZeroDivisionError):
            await hands.prove(lambda: 1 // 0)
        assert await hands.prove(int, "7") == 7
    finally:
        hands.close()
