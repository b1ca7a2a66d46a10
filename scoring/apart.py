"""How far two answers to one input are apart, 0 to 1 (a vector's distance may be more): for sorting, not for judging.

Whether two answers agree is what the task's `agree` says. Knows answers. Knows nothing of bundles.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from bundle.metrics.average_precision import Truth
from bundle.metrics.detection import boxes_of, matched
from bundle.tasks.anomaly import Verdict
from bundle.tasks.classification import Classification
from bundle.tasks.detection import Detection
from bundle.tasks.segmentation import Segmentation, class_mask
from bundle.tasks.sentence_embedding import SentenceEmbedding, distance

MEASURED = {
    "image-classification": "largest difference of a score",
    "text-classification": "largest difference of a score",
    "image-segmentation": "share of pixels that differ",
    "object-detection": "1 - F1 of the boxes that both show",
    "anomaly-detection": "difference of the score",
    "series-anomaly-detection": "difference of the score",
    "sentence-embedding": "1 - cosine",
}
"""What is measured, by task."""


def apart(task: str, one: Any, other: Any, threshold: float) -> float:
    """How far; `threshold` is that from which on boxes are shown."""
    if task == "object-detection":
        return _boxes(one, other, threshold)
    return _MEASURES[task](one, other)


def _scores(one: Classification, other: Classification) -> float:
    mine, theirs = ({entry.label: entry.score for entry in answer.top_k} for answer in (one, other))
    return max(abs(mine.get(label, 0.0) - theirs.get(label, 0.0)) for label in mine | theirs)


def _pixels(one: Segmentation, other: Segmentation) -> float:
    mine, theirs = class_mask(one), class_mask(other)
    return float(np.mean(mine != theirs)) if mine.shape == theirs.shape else 1.0


def _verdicts(one: Verdict, other: Verdict) -> float:
    return abs(one.anomaly_score - other.anomaly_score)


def _vectors(one: SentenceEmbedding, other: SentenceEmbedding) -> float:
    return distance(np.array(one.embedding), np.array(other.embedding))


def _boxes(one: Detection, other: Detection, threshold: float) -> float:
    labels = sorted({found.label for answer in (one, other) for found in answer.detections})
    mine, theirs = (boxes_of(answer, labels) for answer in (one, other))
    mine, theirs = mine.take(mine.scores >= threshold), theirs.take(theirs.scores >= threshold)
    together = len(mine) + len(theirs)
    right = int(matched(Truth(mine.boxes_xyxy, mine.labels), theirs).sum())
    return 1 - 2 * right / together if together else 0.0


_MEASURES: dict[str, Callable[[Any, Any], float]] = {
    "image-classification": _scores,
    "text-classification": _scores,
    "image-segmentation": _pixels,
    "anomaly-detection": _verdicts,
    "series-anomaly-detection": _verdicts,
    "sentence-embedding": _vectors,
}
