"""The few largest of many, in memory of the few: the worst examples of a data set of any size.

Knows numbers. Knows nothing of what they measure.
"""

import heapq
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Largest(Generic[Item]):
    """Keeps `count` items; of equal ones those that came first."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._heap: list[tuple[float, int, Item]] = []
        self._seen = 0

    def add(self, size: float, item: Item) -> None:
        """Keep it, if it is large enough."""
        self._seen += 1
        entry = (size, -self._seen, item)  # numbers differ, so items are never compared
        if len(self._heap) < self._count:
            heapq.heappush(self._heap, entry)
        elif self._count and entry > self._heap[0]:
            heapq.heapreplace(self._heap, entry)

    def items(self) -> list[tuple[float, Item]]:
        """The largest first."""
        return [(size, item) for size, _, item in sorted(self._heap, reverse=True)]
