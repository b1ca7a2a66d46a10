"""Detection: boxes with labels and scores, in the pixels of the picture as it came.

Knows labels and box tensors. Knows nothing of how boxes were found or drawn.
"""

from bisect import bisect_right
from typing import Annotated, ClassVar, Literal

import msgspec
import numpy as np
from pydantic import Field

from bundle.boxes import SLACK, Boxes, Selection, distance, same_label_iou
from bundle.errors import RuntimeFailed
from bundle.preprocess import ImageSource, Preprocess
from bundle.shares import Counts, count_one, count_scores, shares, sums
from bundle.spec import Spec
from bundle.tensors import Array, Tensors, TensorSpec

COUNT_BINS = (0, 1, 2, 3, 5, 9, 17, 33)  # a bin for none, one, two, 3-4, 5-8, 9-16, 17-32, and more
MATCH_IOU = 0.75  # two answers mean the same box: what COCO calls the strict overlap
DECIMALS = 4  # of a pixel, which is what float32 holds; at 2 the mAP of answers was 0.001 off that of the tensors
THRESHOLD_HELP = "list nothing that scores less; the bundle has a default"
MAX_DETECTIONS_HELP = "list at most so many, the best"
FORMAT_HELP = "json: the answer; png: the picture with the boxes drawn on it"

Share = Annotated[float, Field(ge=0, le=1)]


class DetectionDecode(Spec):
    """What the rows mean, and how the graph selected them: label i is `labels == i`."""

    kind: Literal["detection"] = "detection"
    labels: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)
    default_score_threshold: Share = 0.5
    max_detections: int = Field(default=100, ge=1)
    """Rows that the graph gives."""
    score_floor: Share = 0.0
    """The graph gives nothing that scores less."""
    nms_iou: Share = 1.0
    """The graph gives no two boxes of one label that overlap more."""


class DetectionOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a caller may choose for one request."""

    score_threshold: Annotated[float, msgspec.Meta(ge=0, le=1, description=THRESHOLD_HELP)] | None = None
    max_detections: Annotated[int, msgspec.Meta(ge=1, description=MAX_DETECTIONS_HELP)] | None = None
    format: Annotated[Literal["json", "png"], msgspec.Meta(description=FORMAT_HELP)] = "json"


class DetectedObject(msgspec.Struct, frozen=True):
    """One box: left, top, right, bottom in pixels of the picture as it came (upright), its label and score, 0 to 1."""

    box_xyxy: tuple[float, float, float, float]
    label: str
    score: float


class Detection(msgspec.Struct, frozen=True):
    """What was found, in falling score."""

    detections: tuple[DetectedObject, ...]


class DetectionTask:
    """Rows of boxes -> labelled boxes.

    The graph gives, rows beyond the count zeroed: `boxes_xyxy` float32 [batch, max_detections, 4] in 0..1 of the
    picture, `scores` float32 and `labels` int64 [batch, max_detections], `num_detections` int64 [batch].
    """

    decode_type: ClassVar[type] = DetectionDecode
    options_type = DetectionOptions
    result_type = Detection

    def __init__(self, parameters: DetectionDecode) -> None:
        self._labels = parameters.labels
        self._threshold = parameters.default_score_threshold
        self._selection = Selection(parameters.score_floor, parameters.nms_iou, parameters.max_detections)

    def output_specs(self, preprocess: Preprocess) -> tuple[TensorSpec, ...]:
        """Boxes, scores, labels and their count."""
        rows = self._selection.max_detections
        return (
            TensorSpec(name="boxes_xyxy", dtype="float32", shape=("batch", rows, 4)),
            TensorSpec(name="scores", dtype="float32", shape=("batch", rows)),
            TensorSpec(name="labels", dtype="int64", shape=("batch", rows)),
            TensorSpec(name="num_detections", dtype="int64", shape=("batch",)),
        )

    def golden_options(self) -> DetectionOptions:
        """Everything that the graph gives."""
        return DetectionOptions(score_threshold=0.0, max_detections=self._selection.max_detections)

    def decode(self, outputs: Tensors, source: ImageSource, options: DetectionOptions) -> Detection:
        """The boxes over the threshold, best first, cut to the picture; equal scores keep the graph's order.

        Raises:
            RuntimeFailed: the graph gave a label that the bundle does not know.
        """
        threshold = self._threshold if options.score_threshold is None else options.score_threshold
        found = _rows(outputs)
        self._check_labels(found.labels)
        found = found.take(np.argsort(-found.scores, kind="stable"))
        found = found.take(np.flatnonzero(found.scores >= threshold)[: options.max_detections])
        size_px = np.array([source.width_px, source.height_px] * 2, dtype=np.float64)
        boxes = np.round(np.clip(found.boxes_xyxy, 0, 1) * size_px, DECIMALS).tolist()
        return Detection(
            tuple(
                DetectedObject(tuple(box), self._labels[label], score)
                for box, label, score in zip(boxes, found.labels, found.scores.tolist(), strict=True)
            )
        )

    def _check_labels(self, labels: Array) -> None:
        strangers = labels[(labels < 0) | (labels >= len(self._labels))]
        if strangers.size:
            raise RuntimeFailed(
                f"the graph gave label {strangers[0]}; the bundle has labels 0 to {len(self._labels) - 1}"
            )

    def differences(self, expected: Tensors, got: Tensors) -> dict[str, float]:
        """How far boxes (in shares of a side) and scores are apart, rows in any order; see `bundle.boxes.distance`.

        `labels` and `num_detections` are 0, or infinite where the graph is broken: boxes are compared within their
        label, but a label that nobody knows, or a count that no longer fits the scores, is no matter of degree.
        """
        if any(expected[name].shape != got[name].shape for name in expected):
            return dict.fromkeys(expected, np.inf)
        finite = all(np.isfinite(row[name]).all() for row in (expected, got) for name in ("boxes_xyxy", "scores"))
        score, side = distance(_rows(expected), _rows(got), self._selection) if finite else (np.inf, np.inf)
        return {
            "boxes_xyxy": side,
            "scores": score,
            "labels": np.inf if self._strangers(got) > self._strangers(expected) else 0.0,
            "num_detections": np.inf if _miscounted(got) > _miscounted(expected) else 0.0,
        }

    def _strangers(self, outputs: Tensors) -> int:
        """How many labels are none of ours."""
        return int(((outputs["labels"] < 0) | (outputs["labels"] >= len(self._labels))).sum())

    def agree(self, expected: Detection, got: Detection, atol: float) -> str | None:
        """Every box that is shown by default in one answer is in the other: same label, overlap of at least 0.75.

        Ties do not count: a box whose score is within `atol` of the default threshold may be shown or not, and one may
        stand for another of its label that overlaps it and scores the same within two errors of `atol`.
        """
        strangers = sorted({one.label for one in got.detections} - set(self._labels))
        strangers += sorted({one.label for one in expected.detections} - set(self._labels))
        if strangers:
            return f"the label '{strangers[0]}' is not among the labels {', '.join(self._labels)}"
        return self._missing(expected, got, atol, "expected") or self._missing(got, expected, atol, "got")

    def _missing(self, one: Detection, other: Detection, atol: float, which: str) -> str | None:
        here, there = self._boxes(one), self._boxes(other)
        overlaps = same_label_iou(here, there)
        nearly = overlaps > min(self._selection.nms_iou - SLACK, MATCH_IOU)
        for i, found in enumerate(one.detections):
            if found.score < self._threshold + atol:
                continue
            same = (overlaps[i] >= MATCH_IOU) & (there.scores >= self._threshold)
            tied = nearly[i] & (there.scores >= found.score - 2 * atol)
            if not (same | tied).any():
                return f"{which} {_told(found)}, but the other answer has {_nearest(other, overlaps[i])}"
        return None

    def _boxes(self, result: Detection) -> Boxes:
        found = result.detections
        return Boxes(
            np.array([one.box_xyxy for one in found], np.float64).reshape(-1, 4),
            np.array([self._labels.index(one.label) for one in found], np.int64),
            np.array([one.score for one in found], np.float64),
        )

    def summarise(self, results: list[Detection]) -> dict[str, list[float]]:
        """Of what is shown by default: `label_share` in the order of the labels, `score_histogram` in ten equal bins,
        and `count_histogram`, the share of pictures with 0, 1, 2, 3-4, 5-8, 9-16, 17-32 and more boxes.

        Where nothing was found at all, labels have equal shares and scores lie in the lowest bin.
        """
        totals = sums(map(self.count, results))
        if not totals["label_share"].any():
            totals |= {"label_share": np.ones(len(self._labels)), "score_histogram": count_scores([0.0])}
        return shares(totals)

    def count(self, result: Detection) -> Counts:
        """The labels and scores of its boxes, and how many there are; only of what is shown by default."""
        shown = [one for one in result.detections if one.score >= self._threshold]
        labels = np.array([self._labels.index(one.label) for one in shown], np.int64)
        return {
            "label_share": np.bincount(labels, minlength=len(self._labels)).astype(np.float64),
            "score_histogram": count_scores(one.score for one in shown),
            "count_histogram": count_one(bisect_right(COUNT_BINS, len(shown)) - 1, len(COUNT_BINS)),
        }


def _rows(outputs: Tensors) -> Boxes:
    """The rows that count."""
    count = int(outputs["num_detections"])
    return Boxes(outputs["boxes_xyxy"][:count], outputs["labels"][:count], outputs["scores"][:count])


def _miscounted(outputs: Tensors) -> int:
    """How many rows with a score there are besides those that are counted."""
    return abs(int(outputs["num_detections"]) - int(np.count_nonzero(outputs["scores"])))


def _told(found: DetectedObject) -> str:
    return f"'{found.label}' ({found.score:.4f}) at {list(found.box_xyxy)}"


def _nearest(other: Detection, overlaps: Array) -> str:
    if not overlaps.any():
        return "none of that label there"
    return f"{_told(other.detections[int(overlaps.argmax())])} (overlap {overlaps.max():.2f})"
