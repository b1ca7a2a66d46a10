"""Classification: accuracy, and which label is taken for which. Truths are indices of labels.

Knows labels. Knows nothing of scores but that of the best label.
"""

import numpy as np

from bundle.metrics.metric import Table, per_class
from bundle.tasks.classification import Classification

MAX_MATRIX_LABELS = 40
"""With more, a matrix cannot be read, and the pairs that are confused most stand for it."""
MAX_PAIRS = 50


class ClassificationMetric:
    """Counts pairs of truth and answer."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._labels = labels
        self._index = {label: i for i, label in enumerate(labels)}
        self.counts = np.zeros((len(labels), len(labels)), np.int64)
        """By (truth, answer)."""

    def add(self, answer: Classification, truth: int) -> float:
        """How sure of a wrong label it was."""
        index = self._index[answer.label]
        self.counts[truth, index] += 1
        return 0.0 if index == truth else max(answer.score, 1e-9)

    def figures(self) -> dict[str, float]:
        """`accuracy`: the share of answers whose label is the truth's."""
        total = int(self.counts.sum())
        return {"accuracy": int(np.trace(self.counts)) / total if total else float("nan")}

    def tables(self) -> list[Table]:
        """Who is taken for whom, and figures a label."""
        right, truths, found = np.diag(self.counts), self.counts.sum(axis=1), self.counts.sum(axis=0)
        confused = self._matrix() if len(self._labels) <= MAX_MATRIX_LABELS else self._pairs()
        return [confused, per_class(self._labels, right.tolist(), truths.tolist(), found.tolist())]

    def _matrix(self) -> Table:
        rows = tuple((label, *row) for label, row in zip(self._labels, self.counts.tolist(), strict=True))
        return Table("Confusion", ("truth", *self._labels), rows, is_matrix=True)

    def _pairs(self) -> Table:
        wrong = self.counts - np.diag(np.diag(self.counts))
        order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_PAIRS]
        pairs = [divmod(int(i), len(self._labels)) for i in order if wrong.flat[i]]
        rows = tuple((self._labels[truth], self._labels[answer], int(wrong[truth, answer])) for truth, answer in pairs)
        return Table("Most frequent confusions", ("truth", "answer", "samples"), rows)
