"""COCO's average precision, by its own code (pycocotools), which is imported only where a figure is asked for.

Knows boxes, labels and scores as arrays. Knows nothing of pictures or networks.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bundle.boxes import Boxes
from bundle.errors import RunError
from bundle.tensors import Array

MAX_DETECTIONS = 100  # COCO counts the best hundred a picture


@dataclass(frozen=True)
class Truth:
    """What is in one picture."""

    boxes_xyxy: Array
    """float [n, 4]."""
    labels: Array
    """int [n]."""


@dataclass(frozen=True)
class AveragePrecision:
    """The figures of a split, 0..1; NaN for a label that no picture has."""

    map: float
    """Mean over overlaps from 0.50 to 0.95 and over labels: COCO's AP."""
    map50: float
    """Mean over labels at an overlap of 0.50."""
    by_label50: Array
    """float [labels]: at an overlap of 0.50."""
    precision50: Array
    """float [101, labels]: at recall 0, 0.01 .. 1, at an overlap of 0.50."""


@dataclass(frozen=True)
class Verdicts:
    """Every box that was found, of all pictures, judged at an overlap of 0.50: each true box is found once."""

    scores: Array
    """float [n]."""
    right: Array
    """bool [n]."""
    num_truths: int


def average_precision(truths: Sequence[Truth], found: Sequence[Boxes], num_labels: int) -> AveragePrecision:
    """COCO's evaluation of all pictures together; the n-th truth and the n-th found are of one picture."""
    evaluation = _evaluate(truths, found, num_labels)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 0]  # [overlaps, recalls, labels], of boxes of any size
    by_label = np.where(precision < 0, np.nan, precision).mean(axis=1)  # [overlaps, labels]
    return AveragePrecision(_mean(by_label), _mean(by_label[0]), by_label[0], precision[0])


def verdicts(truths: Sequence[Truth], found: Sequence[Boxes], num_labels: int) -> Verdicts:
    """Which of the found boxes are right, as COCO matches them."""
    judged = [one for one in _evaluate(truths, found, num_labels).evalImgs if one]
    scores = np.concatenate([np.zeros(0), *(one["dtScores"] for one in judged)])
    right = np.concatenate([np.zeros(0, bool), *(one["dtMatches"][0] > 0 for one in judged)])
    return Verdicts(scores, right, sum(len(truth.labels) for truth in truths))


def best_f1_threshold(judged: Verdicts) -> float:
    """The score from which on listing boxes gives the best balance of precision and recall over all of them.

    Between two scores, so that rounding does not move a box over it; 0.5 where nothing right was found.
    """
    order = np.argsort(-judged.scores, kind="stable")
    scores, hits = judged.scores[order], np.cumsum(judged.right[order])
    if not hits.size or not hits[-1]:
        return 0.5
    last = int(np.argmax(2 * hits / (np.arange(1, len(hits) + 1) + judged.num_truths)))
    below = scores[last + 1] if last + 1 < len(scores) else 0.0
    return float((scores[last] + below) / 2)


def _evaluate(truths: Sequence[Truth], found: Sequence[Boxes], num_labels: int) -> Any:
    COCO, COCOeval = pycocotools()
    with contextlib.redirect_stdout(io.StringIO()):  # it tells of every step, where scripts read a run's folder
        truth = COCO()
        truth.dataset = _dataset(truths, num_labels)
        truth.createIndex()
        evaluation = COCOeval(truth, _answers(COCO(), truth, found), "bbox")
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, np.inf]], ["all"]
        evaluation.evaluate()
    return evaluation


def pycocotools() -> tuple[Any, Any]:
    """COCO's own classes, for data and for evaluation.

    Raises:
        RunError: they are not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as cause:
        raise RunError(f"average precision needs pycocotools: {cause}; pip install 'modelyard[evaluation]'") from None
    return COCO, COCOeval


def _mean(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else 0.0


def _dataset(truths: Sequence[Truth], num_labels: int) -> dict[str, Any]:
    annotations = [
        {"image_id": i, "category_id": int(label), "iscrowd": 0} | _box(box)
        for i, truth in enumerate(truths)
        for box, label in zip(truth.boxes_xyxy, truth.labels, strict=True)
    ]
    return {
        "images": [{"id": i} for i in range(len(truths))],
        "categories": [{"id": i} for i in range(num_labels)],
        "annotations": [one | {"id": i + 1} for i, one in enumerate(annotations)],  # COCO takes an id of 0 for none
    }


def _answers(answers: Any, truth: Any, found: Sequence[Boxes]) -> Any:
    listed = [
        {"image_id": i, "category_id": int(label), "score": float(score)} | _box(box)
        for i, one in enumerate(found)
        for box, label, score in zip(one.boxes_xyxy, one.labels, one.scores, strict=True)
    ]
    answers.dataset = truth.dataset | {"annotations": [one | {"id": i + 1} for i, one in enumerate(listed)]}
    answers.createIndex()
    return answers


def _box(box_xyxy: Array) -> dict[str, Any]:
    x0, y0, x1, y1 = (float(value) for value in box_xyxy)
    return {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}
