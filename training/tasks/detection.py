"""Detection while training: task-aligned loss, COCO's average precision, two baselines, pictures of the answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn

from bundle.metrics.average_precision import MAX_DETECTIONS, average_precision, best_f1_threshold, verdicts
from bundle.metrics.detection import Box, DetectionMetric, box_figures, boxes_of, truth_of
from bundle.preprocess import ImageResize, ImageSource
from bundle.tasks import Decode
from bundle.tasks.detection import Detection, DetectionDecode
from training.assignment import PADDING, detection_loss
from training.augment import build_augment
from training.blobs import box_grid, otsu_blobs
from training.config import Augment
from training.data.prepared import PreparedSplit
from training.data.samples import Samples
from training.detection_figures import draw_best_and_worst, draw_precision_recall, draw_scores
from training.graph import Graph
from training.nms import DetectionTail

if TYPE_CHECKING:
    from torchmetrics import Metric

NUM_CANDIDATES = 300  # that suppression chooses from: three for each row that is given out
# Lower scores lie at the far end of COCO's curve: on BCCD's validation split a floor of 0.05 costs 0.0005 of mAP, one
# of 0.1 costs 0.002; and every row that is not given is one that cannot tie with another.
SCORE_FLOOR = 0.02
NMS_IOU = 0.6  # on BCCD's validation split mAP is 0.591 from 0.5 to 0.6, and 0.594 at 0.65 and 0.7, where mAP50 falls
EVALUATION_BATCH = 32


class DetectionTraining:
    """Boxes in a picture; a sample's target is a tuple of `Box` in its own pixels."""

    metric_name = "map"
    better: Literal["max", "min"] = "max"
    validation_metric_name = "map"
    validation_better: Literal["max", "min"] = "max"

    def __init__(self, labels: tuple[str, ...], preprocess: ImageResize) -> None:
        self.labels = labels
        self.num_outputs = len(labels)
        self._preprocess = preprocess
        self._threshold = 0.5

    def tail(self) -> nn.Module:
        """Candidates -> boxes_xyxy, scores, labels, num_detections."""
        return DetectionTail(MAX_DETECTIONS, NUM_CANDIDATES, SCORE_FLOOR, NMS_IOU)

    def prepare_target(self, target: Sequence[Box], source: ImageSource) -> list[Box]:
        """The same boxes in 0..1 of the picture, which is also 0..1 of the resized one."""
        width, height = source.width_px, source.height_px
        return [(label, x0 / width, y0 / height, x1 / width, y1 / height) for label, x0, y0, x1, y1 in target]

    def stack_targets(self, targets: list[Any]) -> torch.Tensor:
        """float [batch, M, 5] = (label, x0, y0, x1, y1); pictures with fewer than M boxes end in rows of label -1."""
        stacked = torch.zeros(len(targets), max([1, *map(len, targets)]), 5)
        stacked[..., 0] = PADDING
        for row, boxes in zip(stacked, targets, strict=True):
            row[: len(boxes)] = torch.tensor(boxes).reshape(-1, 5)
        return stacked

    def augment(self, config: Augment) -> nn.Module | None:
        """Boxes move with the picture."""
        return build_augment(config, self._preprocess.height_px, self._preprocess.width_px, "boxes")

    def loss(self, logits: Any, targets: torch.Tensor, label_smoothing: float) -> torch.Tensor:
        """Of a network's `Candidates`; the targets are soft by nature, so smoothing has nothing to do."""
        places, boxes_xyxy, points_xy = logits
        return detection_loss(places, boxes_xyxy, points_xy, targets)

    def new_metric(self) -> "Metric":
        """COCO's AP, of the graph's four outputs."""
        from training.average_precision import MeanAveragePrecision

        return MeanAveragePrecision(self.num_outputs)

    def finish(self, graph: Graph, train: PreparedSplit, validation: PreparedSplit) -> Decode:
        """Boxes are listed by default from the score on that gives the best F1 on validation."""
        from training.average_precision import MeanAveragePrecision

        metric = MeanAveragePrecision(self.num_outputs)
        with torch.inference_mode():
            for start in range(0, len(validation), EVALUATION_BATCH):
                inputs = tuple(tensor[start : start + EVALUATION_BATCH] for tensor in validation.inputs)
                targets = self.stack_targets(validation.targets[start : start + EVALUATION_BATCH])
                metric.update(graph(*inputs), targets)
        self._threshold = round(best_f1_threshold(verdicts(*metric.pictures(), self.num_outputs)), 3)
        return DetectionDecode(
            labels=self.labels,
            default_score_threshold=self._threshold,
            max_detections=MAX_DETECTIONS,
            score_floor=SCORE_FLOOR,
            nms_iou=NMS_IOU,
        )

    def score(self, answers: Sequence[Detection], targets: list[Any]) -> dict[str, float]:
        """`map` (COCO's AP, overlaps from 0.50 to 0.95), `map50`, and at 0.50 for each label that occurs."""
        metric = DetectionMetric(self.labels, self._threshold)
        for answer, target in zip(answers, targets, strict=True):
            metric.add(answer, target)
        return metric.figures()

    def baseline(self, train: PreparedSplit, test: PreparedSplit) -> dict[str, float]:
        """A grid of boxes of the commonest label, edge to edge; dark or bright blobs, labelled by their size."""
        known = np.array([box for target in train.targets for box in target]).reshape(-1, 5)
        images = test.inputs[0].numpy()
        answers = {
            "grid_of_commonest_boxes": [box_grid(known)] * len(test),
            "otsu_blobs": [otsu_blobs(image_HWC, known) for image_HWC in images],
        }
        truths = [truth_of(target) for target in test.targets]
        return {name: box_figures(truths, found, self.labels)["map"] for name, found in answers.items()}

    def draw(self, folder: Path, samples: Samples, answers: Sequence[Detection]) -> None:
        """precision_recall.png, scores.png, best_and_worst.png."""
        found = [boxes_of(answer, self.labels) for answer in answers]
        truths = [truth_of(samples.target(i)) for i in range(len(samples))]
        figures = average_precision(truths, found, self.num_outputs)
        draw_precision_recall(folder / "precision_recall.png", figures, self.labels)
        draw_scores(folder / "scores.png", verdicts(truths, found, self.num_outputs), self._threshold)
        shown = [one.take(one.scores >= self._threshold) for one in found]
        draw_best_and_worst(folder / "best_and_worst.png", samples, truths, shown, self.labels)
