"""The end of a version that was swapped out: it answers all it has accepted, then its engine and its memory go.

Knows a version that nobody finds any more. Knows nothing of why.
"""

import asyncio
from collections.abc import Callable

from serving.repository.hands import Hands
from serving.repository.memory import give_back
from serving.repository.slots import Proven, Slot

FOUND_S = 0.1
"""For so long it still accepts: a request that found it in the last moment is about to be queued."""


class Drains:
    """What of one model drains."""

    def __init__(self, hands: Hands, drained: Callable[[Slot], None]) -> None:
        """`drained` is called when a slot's last engine is gone."""
        self._hands = hands
        self._drained = drained
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, proven: Proven, slot: Slot) -> None:
        """Drain what a slot has had."""
        slot.num_draining += 1
        proven.served.shadow = None
        task = asyncio.create_task(self._drain(proven, slot), name=f"drain {proven.served.name} {slot.version}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def over(self, patience_s: float | None = None) -> None:
        """Wait until nothing drains, or patience ends."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience_s)

    async def _drain(self, proven: Proven | None, slot: Slot) -> None:
        assert proven is not None  # noqa: S101 - it is a None below, when the memory is to be given back
        await asyncio.sleep(FOUND_S)
        await proven.served.retire()
        proven = None
        slot.num_draining -= 1
        if not slot.num_draining:
            self._drained(slot)
        if not self._hands.stopped:
            await self._hands.prove(give_back)
