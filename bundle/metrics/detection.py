"""Detection: COCO's average precision over all boxes, and precision and recall of those that are shown by default.

All boxes of all pictures are held until the end, since they are ranked together: some 5 kB a picture of a hundred
boxes. Truths are boxes as (index of the label, x0, y0, x1, y1) in pixels of the picture. Knows boxes. Knows nothing
of pictures.
"""

from collections.abc import Sequence

import numpy as np

from bundle.boxes import SAME_IOU, Boxes, same_label_iou
from bundle.metrics.average_precision import Truth, average_precision
from bundle.metrics.metric import Table, per_class
from bundle.tasks.detection import Detection
from bundle.tensors import Array

Box = tuple[int, float, float, float, float]
"""(index of the label, x0, y0, x1, y1)."""


class DetectionMetric:
    """Keeps boxes, which are ranked at the end; and counts those that are shown."""

    def __init__(self, labels: tuple[str, ...], threshold: float = 0.5) -> None:
        self._labels = labels
        self._threshold = threshold
        self._truths: list[Truth] = []
        self._found: list[Boxes] = []
        self._counts = np.zeros((3, len(labels)), np.int64)
        """Right, true and shown boxes of each label."""

    def add(self, answer: Detection, truth: Sequence[Box]) -> float:
        """One minus the F1 of the boxes that are shown."""
        found, true = boxes_of(answer, self._labels), truth_of(truth)
        self._found.append(found)
        self._truths.append(true)
        shown = found.take(found.scores >= self._threshold)
        right = matched(true, shown)
        for row, labels in zip(self._counts, (shown.labels[right], true.labels, shown.labels), strict=True):
            row += np.bincount(labels, minlength=len(self._labels))
        together = len(shown) + len(true.labels)
        return 1 - 2 * int(right.sum()) / together if together else 0.0

    def figures(self) -> dict[str, float]:
        """See `box_figures`."""
        return box_figures(self._truths, self._found, self._labels)

    def tables(self) -> list[Table]:
        """Precision and recall a label, of what is shown."""
        plain = per_class(self._labels, *(row.tolist() for row in self._counts))
        title = f"By label, boxes of a score from {self._threshold:g} on (right: an overlap of {SAME_IOU:g})"
        return [Table(title, (*plain.head[:4], "true boxes", "shown boxes"), plain.rows)]


def box_figures(truths: Sequence[Truth], found: Sequence[Boxes], labels: Sequence[str]) -> dict[str, float]:
    """`map` (COCO's AP, overlaps from 0.50 to 0.95), `map50`, and at 0.50 for each label that occurs."""
    figures = average_precision(truths, found, len(labels))
    by_label = zip(labels, figures.by_label50.tolist(), strict=True)
    known = {f"ap50_{label}": value for label, value in by_label if np.isfinite(value)}
    return {"map": figures.map, "map50": figures.map50, **known}


def boxes_of(answer: Detection, labels: Sequence[str]) -> Boxes:
    """The boxes of an answer as arrays."""
    listed = answer.detections
    return Boxes(
        np.array([one.box_xyxy for one in listed], np.float64).reshape(-1, 4),
        np.array([labels.index(one.label) for one in listed], np.int64),
        np.array([one.score for one in listed], np.float64),
    )


def truth_of(boxes: Sequence[Box]) -> Truth:
    """What is in a picture, as arrays."""
    rows = np.array(boxes, np.float64).reshape(-1, 5)
    return Truth(rows[:, 1:], rows[:, 0].astype(np.int64))


def matched(truth: Truth, found: Boxes) -> Array:
    """bool [n]: which of the found boxes are right, as COCO matches them: the surest first, each true box once."""
    overlaps = same_label_iou(found, Boxes(truth.boxes_xyxy, truth.labels, np.ones(len(truth.labels))))
    right = np.zeros(len(found), bool)
    if not overlaps.size:
        return right
    for i in np.argsort(-found.scores, kind="stable"):
        best = int(overlaps[i].argmax())
        if overlaps[i, best] >= SAME_IOU:
            right[i] = True
            overlaps[:, best] = 0.0
    return right
