"""Segmentation: overlap of areas, and the share of right pixels. Truths are masks of class indices; 255 is void.

Knows masks. Knows nothing of pictures.
"""

import numpy as np

from bundle.errors import BadInput
from bundle.metrics.classification import MAX_MATRIX_LABELS
from bundle.metrics.metric import Table, per_class
from bundle.tasks.segmentation import VOID, Segmentation, class_mask
from bundle.tensors import Array


class SegmentationMetric:
    """Counts pixels, in the pixels of the source."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._labels = labels
        self.counts = np.zeros((len(labels), len(labels)), np.int64)
        """By (true class, answered class)."""

    def add(self, answer: Segmentation, truth: Array) -> float:
        """One minus the mean IoU of this picture; 0 where all of it is void.

        Raises:
            BadInput: the masks are of unlike sizes.
        """
        mask_HW = class_mask(answer)
        if mask_HW.shape != truth.shape:
            sizes = [f"{mask.shape[1]} x {mask.shape[0]}" for mask in (truth, mask_HW)]
            raise BadInput(f"its mask is {sizes[0]} pixels, the picture {sizes[1]}; they must be of one size")
        counts = count_pixels(mask_HW, truth, len(self._labels))
        self.counts += counts
        return 1 - float(np.nanmean(iou(counts))) if counts.any() else 0.0

    def figures(self) -> dict[str, float]:
        """See `mask_figures`."""
        return mask_figures(self.counts, self._labels)

    def tables(self) -> list[Table]:
        """Figures a class, and, where there are few enough to read, what is taken for what."""
        right, truths, found = np.diag(self.counts), self.counts.sum(axis=1), self.counts.sum(axis=0)
        plain = per_class(self._labels, right.tolist(), truths.tolist(), found.tolist())
        ious = iou(self.counts).tolist()
        rows = tuple(
            (row[0], value if value == value else None, *row[1:]) for row, value in zip(plain.rows, ious, strict=True)
        )
        tables = [Table("By class", ("class", "IoU", *plain.head[1:4], "true pixels", "answered pixels"), rows)]
        if len(self._labels) <= MAX_MATRIX_LABELS:
            cells = tuple((label, *row) for label, row in zip(self._labels, self.counts.tolist(), strict=True))
            tables.append(Table("Confusion of pixels", ("truth", *self._labels), cells, is_matrix=True))
        return tables


def count_pixels(answer_HW: Array, truth_HW: Array, num_classes: int) -> Array:
    """Pixels by (true class, answered class), int64 [classes, classes]; void is left out."""
    known = truth_HW != VOID
    flat = truth_HW[known].astype(np.int64) * num_classes + answer_HW[known]
    return np.bincount(flat, minlength=num_classes**2).reshape(num_classes, num_classes)


def iou(counts: Array) -> Array:
    """IoU a class; nan for one that is neither in the truth nor in the answers."""
    union = counts.sum(axis=0) + counts.sum(axis=1) - np.diag(counts)
    overlaps: Array = np.where(union > 0, np.diag(counts) / np.maximum(union, 1), np.nan)
    return overlaps


def mask_figures(counts: Array, labels: tuple[str, ...]) -> dict[str, float]:
    """Mean IoU over the classes that occur, share of right pixels, and IoU a class."""
    ious = iou(counts)
    seen = {f"iou_{label}": float(one) for label, one in zip(labels, ious, strict=True) if not np.isnan(one)}
    return {
        "miou": float(np.mean(list(seen.values()))) if seen else float("nan"),
        "pixel_accuracy": float(np.diag(counts).sum() / max(counts.sum(), 1)),
        **seen,
    }
