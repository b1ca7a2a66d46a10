"""The form of a metric: what training, export and evaluation ask of it."""

from typing import Any, Protocol

import msgspec


class Table(msgspec.Struct, frozen=True):
    """Figures in rows, for people and for JSON."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    """Cells are texts, numbers, or None where nothing is known; the first one of a row names it."""
    is_matrix: bool = False
    """Whether rows are truths and columns answers, so that the diagonal is what is right."""


class Metric(Protocol):
    """Counts answers beside their truths."""

    def add(self, answer: Any, truth: Any) -> float:
        """Count one; how wrong it is, from 0 (right) to 1."""
        ...

    def figures(self) -> dict[str, float]:
        """The figures of all so far; first the one that export guards. NaN where the truths do not define it."""
        ...

    def tables(self) -> list[Table]:
        """Where it goes wrong: confusion, figures a class."""
        ...


def per_class(labels: tuple[str, ...], right: list[int], truths: list[int], found: list[int]) -> Table:
    """Precision, recall and F1 of each label: `right` of `truths` were found, among `found` answers of that label."""
    counted = zip(labels, right, truths, found, strict=True)
    rows = tuple((label, *precision_recall_f1(*counts), counts[1], counts[2]) for label, *counts in counted)
    return Table("By label", ("label", "precision", "recall", "F1", "truths", "answers"), rows)


def precision_recall_f1(right: int, truths: int, found: int) -> tuple[float, float, float]:
    """Each 0 where it has nothing to be a share of."""
    return right / max(found, 1), right / max(truths, 1), 2 * right / max(truths + found, 1)
