"""What both anomaly metrics share: the area under the ROC curve, and figures of verdicts at a threshold.

Knows scores, verdicts and kinds. Knows nothing of pictures or series.
"""

from array import array
from collections.abc import Sequence

import numpy as np

from bundle.metrics.metric import Table, precision_recall_f1
from bundle.tasks.anomaly import Verdict
from bundle.tensors import Array


class Verdicts:
    """Scores, verdicts and kinds of all samples: thirteen bytes each."""

    def __init__(self, normal: str) -> None:
        self._normal = normal
        self._scores = array("d")
        self._verdicts = array("b")
        self._kinds = array("i")
        self._names: dict[str, int] = {}

    def add(self, answer: Verdict, kind: str) -> float:
        """How far its score lies on the wrong side of the threshold."""
        self._scores.append(answer.anomaly_score)
        self._verdicts.append(answer.is_anomalous)
        self._kinds.append(self._names.setdefault(kind, len(self._names)))
        if answer.is_anomalous == (kind != self._normal):
            return 0.0
        return max(abs(answer.anomaly_score - answer.threshold), 1e-9)

    def figures(self) -> dict[str, float]:
        """See `verdict_figures`."""
        return verdict_figures(self._scores, self._verdicts, self._is_anomalous())

    def by_kind(self) -> dict[str, float]:
        """See `auroc_by_kind`."""
        return auroc_by_kind(self._scores, self._kind_names(), self._normal)

    def tables(self) -> list[Table]:
        """Verdicts a kind, and right against wrong ones."""
        truth, verdicts = self._is_anomalous(), np.array(self._verdicts, bool)
        rows = [(name, *(int((verdicts[truth == side] == told).sum()) for told in (False, True)))
                for name, side in (("normal", False), ("anomalous", True))]  # fmt: skip
        matrix = Table("Confusion", ("truth", "normal", "anomalous"), tuple(rows), is_matrix=True)
        return [
            matrix,
            Table("By kind", ("kind", "AUROC", "called anomalous", "mean score", "samples"), self._kinds_table()),
        ]

    def _kinds_table(self) -> tuple[tuple[str, float | None, float, float, int], ...]:
        aurocs, kinds = self.by_kind(), np.array(self._kinds)
        scores, verdicts = np.array(self._scores), np.array(self._verdicts)
        rows = []
        for name, number in sorted(self._names.items()):
            of = kinds == number
            auroc = aurocs.get(f"auroc_{name}", float("nan"))
            rows.append((name, auroc if auroc == auroc else None, float(verdicts[of].mean()), float(scores[of].mean()),
                         int(of.sum())))  # fmt: skip
        return tuple(rows)

    def _is_anomalous(self) -> Array:
        anomalous: Array = np.array(self._kinds, np.int64) != self._names.get(self._normal, -1)
        return anomalous

    def _kind_names(self) -> Array:
        return np.array(list(self._names), object)[np.array(self._kinds, np.int64)]


def verdict_figures(
    scores: Sequence[float], verdicts: Sequence[bool | int], truth: Sequence[bool] | Array
) -> dict[str, float]:
    """`auroc`, whatever the threshold; at it accuracy, and F1, precision and recall of the anomalous class."""
    told, true = np.array(verdicts, bool), np.array(truth, bool)
    precision, recall, f1 = precision_recall_f1(int((told & true).sum()), int(true.sum()), int(told.sum()))
    values = np.array(scores, np.float64)
    accuracy = float(np.mean(told == true)) if len(true) else float("nan")
    return {
        "auroc": auroc(values[~true], values[true]),
        "f1": f1,
        "accuracy": accuracy,
        "precision": precision,
        "recall": recall,
    }


def auroc_by_kind(scores: Sequence[float], kinds: Sequence[str] | Array, normal: str) -> dict[str, float]:
    """`auroc_<kind>`: the samples of one kind against all normal ones."""
    values, names = np.array(scores, np.float64), np.array(kinds, object)
    return {
        f"auroc_{kind}": auroc(values[names == normal], values[names == kind])
        for kind in dict.fromkeys(kinds)
        if kind != normal
    }


def auroc(negatives: Array, positives: Array) -> float:
    """Share of pairs in which the positive scores higher, a tie counting half; NaN where there is no pair."""
    if not len(negatives) or not len(positives):
        return float("nan")
    ranked = np.sort(negatives)
    below = np.searchsorted(ranked, positives, "left") + np.searchsorted(ranked, positives, "right")
    return int(below.sum()) / 2 / (len(negatives) * len(positives))
