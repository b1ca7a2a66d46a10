"""Contestants in turn, for several short rounds: A B C D, A B C D; medians over rounds, so that noise is everybody's.

Two contestants are compared round by round, since what ran at nearly the same time had nearly the same machine, and the
median of these ratios is told. Knows time. Knows nothing of what is measured.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from statistics import median
from typing import Any, Generic, TypeVar

Measured = TypeVar("Measured")
"""A dataclass of numbers, one of them `per_second`."""

ADDED_UP = ("broken", "checked", "wrong")
"""Fields that count what happened: of these every round's is told."""


class Rounds(Generic[Measured]):
    """What each contestant reached, round by round."""

    def __init__(self, contestants: Mapping[str, Callable[[], Measured]], rounds: int) -> None:
        self._seen: dict[str, list[Measured]] = {name: [] for name in contestants}
        for _ in range(rounds):
            for name, ask in contestants.items():
                self._seen[name].append(ask())

    def of(self, name: str) -> Measured:
        """The median of every field."""
        found = self._seen[name]
        together = {one.name: [getattr(figures, one.name) for figures in found] for one in fields(found[0])}  # type: ignore[arg-type]
        middle = {name: (sum if name in ADDED_UP else median)(values) for name, values in together.items()}
        return type(found[0])(**middle)

    def best(self, names: Mapping[str, Any]) -> str:
        """Of these, the one with the most a second."""
        return max(names, key=lambda name: self._per_second(self.of(name)))

    def ratio(self, name: str, other: str) -> float:
        """The median of a contestant's rate over another's in the same round."""
        pairs = zip(self._seen[name], self._seen[other], strict=True)
        return median(over(self._per_second(mine), self._per_second(theirs)) for mine, theirs in pairs)

    @staticmethod
    def _per_second(figures: Any) -> float:
        return float(figures.per_second)


def over(mine: float, theirs: float) -> float:
    """A ratio; infinite where the other did nothing at all."""
    return mine / theirs if theirs else math.inf
