"""Contestants in turn, for several short rounds: A B C D, A B C D; the median of each, so that noise is everybody's.

Knows time. Knows nothing of what is measured.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from statistics import median
from typing import Any

ADDED_UP = ("broken", "checked", "wrong")
"""Fields that count what happened: of these every round's is told."""

Ask = Callable[[], Any]
"""-> a dataclass of numbers."""


def in_turn(contestants: Mapping[str, Ask], rounds: int) -> dict[str, Any]:
    """Ask every contestant once a round; by contestant, the median of every field."""
    seen: dict[str, list[Any]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, ask in contestants.items():
            seen[name].append(ask())
    return {name: _middle(found) for name, found in seen.items()}


def _middle(found: list[Any]) -> Any:
    together = {one.name: [getattr(figures, one.name) for figures in found] for one in fields(found[0])}
    return type(found[0])(**{name: (sum if name in ADDED_UP else median)(seen) for name, seen in together.items()})
