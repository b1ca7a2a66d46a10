"""COCO's average precision, by its own code (pycocotools), and as a metric that the training loop can log.

Knows boxes, labels and scores as arrays. Knows nothing of pictures or networks.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchmetrics import Metric

from bundle.boxes import Boxes
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


def _evaluate(truths: Sequence[Truth], found: Sequence[Boxes], num_labels: int) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):  # it tells of every step, where scripts read a run's folder
        truth = COCO()
        truth.dataset = _dataset(truths, num_labels)
        truth.createIndex()
        evaluation = COCOeval(truth, _answers(truth, found), "bbox")
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, np.inf]], ["all"]
        evaluation.evaluate()
    return evaluation


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


def _answers(truth: COCO, found: Sequence[Boxes]) -> COCO:
    answers = COCO()
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


class MeanAveragePrecision(Metric):
    """COCO's AP of all batches together, fed with a graph's four outputs and padded targets [batch, M, 5]."""

    full_state_update = False
    higher_is_better = True

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.num_labels = num_labels
        self.found: list[torch.Tensor]
        self.truths: list[torch.Tensor]
        self.add_state("found", [], dist_reduce_fx=None)
        self.add_state("truths", [], dist_reduce_fx=None)

    def update(self, outputs: tuple[torch.Tensor, ...], targets: torch.Tensor) -> None:
        """Keep one batch: one tensor a picture, so that batches of different widths can lie side by side."""
        boxes_xyxy, scores, labels, _ = (output.detach().float().cpu() for output in outputs)
        rows = torch.cat([labels[..., None], scores[..., None], boxes_xyxy], dim=-1)
        self.found += [one[one[:, 1] > 0] for one in rows]
        self.truths += [one[one[:, 0] >= 0] for one in targets.detach().cpu()]

    def compute(self) -> torch.Tensor:
        """A scalar, 0..1."""
        return torch.tensor(average_precision(*self.pictures(), self.num_labels).map)

    def pictures(self) -> tuple[list[Truth], list[Boxes]]:
        """What was in each picture, and what was found."""
        truths, found = ([one.numpy() for one in rows] for rows in (self.truths, self.found))
        return (
            [Truth(one[:, 1:], one[:, 0].astype(np.int64)) for one in truths],
            [Boxes(one[:, 2:], one[:, 0].astype(np.int64), one[:, 1]) for one in found],
        )
