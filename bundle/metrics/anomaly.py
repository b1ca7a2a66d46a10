"""Anomaly detection in pictures: AUROC of scores and of pixels, and figures at the threshold.

Knows answers, kinds and masks. Knows nothing of pictures.
"""

from dataclasses import dataclass

import numpy as np

from bundle.heatmap import LEVELS, decode_map
from bundle.metrics.metric import Table
from bundle.metrics.verdicts import Verdicts
from bundle.tasks.anomaly import Anomaly
from bundle.tensors import Array

GOOD = "good"
"""The kind of a picture without a defect."""


@dataclass(frozen=True)
class Marked:
    """What a picture shows."""

    kind: str
    mask: Array | None = None
    """bool [height, width], in the picture's size: where the defect is; None where nobody drew it, or there is none."""


class AnomalyMetric:
    """Counts verdicts, and pixels by kind and level of the map."""

    def __init__(self) -> None:
        self._verdicts = Verdicts(GOOD)
        self._pixels: dict[str, Array] = {}
        """By kind: [2, levels], the defect's second."""

    def add(self, answer: Anomaly, truth: Marked) -> float:
        """How far its score lies on the wrong side of the threshold. Unmarked defects count in no figure of pixels."""
        wrong = self._verdicts.add(answer, truth.kind)
        if truth.kind == GOOD or truth.mask is not None:
            levels_HW = np.rint(decode_map(answer.anomaly_map.b64) * LEVELS).astype(np.intp)
            mask_HW = np.zeros(levels_HW.shape, bool) if truth.mask is None else truth.mask
            both = [np.bincount(levels_HW[chosen], minlength=LEVELS + 1) for chosen in (~mask_HW, mask_HW)]
            self._pixels[truth.kind] = self._pixels.get(truth.kind, 0) + np.stack(both)
        return wrong

    def figures(self) -> dict[str, float]:
        """AUROC, figures at the threshold, AUROC of pixels, and both by kind."""
        return self._verdicts.figures() | self._pixel_figures() | self._verdicts.by_kind()

    def tables(self) -> list[Table]:
        """Right and wrong verdicts, and each kind's."""
        return self._verdicts.tables()

    def _pixel_figures(self) -> dict[str, float]:
        """`pixel_auroc`, over the pixels of all pictures whose defect is outlined; then the same by kind."""
        defects = [kind for kind in self._pixels if kind != GOOD]
        good = self._pixels.get(GOOD, np.zeros((2, LEVELS + 1), np.int64))
        by_kind = {f"pixel_auroc_{kind}": auroc_of_counts(good + self._pixels[kind]) for kind in defects}
        total = sum(self._pixels.values(), np.zeros_like(good))
        return {"pixel_auroc": auroc_of_counts(total), **by_kind} if defects else {}


def auroc_of_counts(counts: Array) -> float:
    """AUROC of pixels counted by level: [2, levels], the defect's second. A tie counts half; NaN where one is empty."""
    negatives, positives = counts.astype(np.float64)
    below = np.cumsum(negatives) - negatives
    pairs = positives.sum() * negatives.sum()
    return float((positives * (below + negatives / 2)).sum() / pairs) if pairs else float("nan")
