"""Anomaly detection in pictures while training: good ones teach, with or without defects painted on them.

The loss is FCDD's (Liznerski et al. 2021) at every pixel: a deviation a costs a where the picture is normal, and
-log(1 - exp(-a)) where a defect was painted. Without painted defects that is the plain error of an autoencoder.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from bundle.heatmap import decode_map
from bundle.metrics.anomaly import GOOD, AnomalyMetric, Marked
from bundle.preprocess import ImageResize, ImageSource
from bundle.tasks import Decode
from bundle.tasks.anomaly import Anomaly, AnomalyDecode
from bundle.tensors import Array
from training.anomaly_figures import draw_maps, draw_scores
from training.augment import build_augment
from training.config import Augment
from training.data.painted import PaintDefects
from training.data.prepared import PreparedSplit
from training.data.samples import Samples
from training.data.surfaces import Surface
from training.deviation import (
    baselines,
    bounded,
    deviations,
    is_anomalous,
    threshold_of,
)
from training.graph import Graph

if TYPE_CHECKING:
    from torchmetrics import Metric

SCORE_SHARE = 0.1  # the score is the mean of so much of the map: a small defect shows, a single pixel does not
MAP_QUANTILE = 0.995  # of held-out normal pixels below the map's threshold
DEFECT_WEIGHT = 0.25
BASELINE_SIDE_PX = 32


class AnomalyTail(nn.Module):
    """deviation [batch, h, w] -> `anomaly_score` [batch] and `anomaly_map` [batch, height, width], both bounded."""

    def __init__(self, height_px: int, width_px: int) -> None:
        super().__init__()
        self._size = (height_px, width_px)
        self.threshold: torch.Tensor
        self.map_threshold: torch.Tensor
        self.register_buffer("threshold", torch.ones(()))
        self.register_buffer("map_threshold", torch.ones(()))

    def raw_score(self, deviation: torch.Tensor) -> torch.Tensor:
        """Mean of the largest deviations, [batch]."""
        count = max(1, round(SCORE_SHARE * deviation.shape[1] * deviation.shape[2]))
        return deviation.flatten(1).topk(count, dim=1).values.mean(dim=1)

    def forward(self, deviation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """By the thresholds that `finish` set."""
        anomaly_map = functional.interpolate(deviation[:, None], self._size, mode="bilinear", align_corners=False)[:, 0]
        return bounded(self.raw_score(deviation), self.threshold), bounded(anomaly_map, self.map_threshold)


class AnomalyTraining:
    """One `Surface` a picture: its kind, and the mask of its defect where one is known."""

    metric_name = "auroc"
    better: Literal["max", "min"] = "max"
    validation_metric_name = "auroc"
    validation_better: Literal["max", "min"] = "max"
    num_outputs = 1

    def __init__(self, labels: tuple[str, ...], preprocess: ImageResize) -> None:
        self._height_px, self._width_px = preprocess.height_px, preprocess.width_px

    def tail(self) -> nn.Module:
        """What the network gives -> score and map."""
        return AnomalyTail(self._height_px, self._width_px)

    def prepare_target(self, target: Surface, source: ImageSource) -> Array:
        """uint8 [height, width] of the prepared picture, 1 where the defect is; a tiny one keeps at least a pixel."""
        mask_HW = target.mask(source.height_px, source.width_px).astype(np.float32)
        cover_HW = cv2.resize(mask_HW, (self._width_px, self._height_px), interpolation=cv2.INTER_AREA)
        marked_HW = cover_HW >= min(0.5, max(float(cover_HW.max()), 1e-6))
        return marked_HW.astype(np.uint8)

    def stack_targets(self, targets: list[Array]) -> torch.Tensor:
        """int64 [batch, height, width]: 1 defect, 0 normal, -1 not known (moved in from outside)."""
        return torch.from_numpy(np.stack(targets)).long()

    def augment(self, config: Augment) -> nn.Module | None:
        """Moves of the whole picture, then painted defects."""
        moves = build_augment(config.model_copy(update={"defects": 0.0}), self._height_px, self._width_px, "mask")
        return PaintDefects(config.defects, moves) if config.defects else moves

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, label_smoothing: float) -> torch.Tensor:
        """Mean over normal pixels, plus the mean over each defect: a thin crack counts as much as a wide stain."""
        size = logits.shape[1:]
        defect = functional.adaptive_max_pool2d((targets == 1).to(logits.dtype), size)
        known = functional.adaptive_max_pool2d((targets >= 0).to(logits.dtype), size)
        normal = (logits * (1 - defect) * known).mean()
        missed = -torch.log((-torch.expm1(-logits)).clamp_min(1e-12)) * defect
        return normal + DEFECT_WEIGHT * (missed.sum(dim=(1, 2)) / defect.sum(dim=(1, 2)).clamp_min(1)).mean()

    def new_metric(self) -> "Metric":
        """AUROC of the scores."""
        from training.validation_metrics import ScoreAuroc

        return ScoreAuroc()

    def finish(self, graph: Graph, train: PreparedSplit, validation: PreparedSplit) -> Decode:
        """Set both thresholds on the good pictures of validation, which the weights have not seen."""
        good = ~is_anomalous(self.stack_targets(validation.targets))
        deviation = deviations(graph, validation.inputs, good)
        tail = graph.tail
        assert isinstance(tail, AnomalyTail)  # noqa: S101 - this task made it
        tail.threshold.copy_(threshold_of(tail.raw_score(deviation)))
        tail.map_threshold.copy_(
            torch.from_numpy(np.quantile(deviation.numpy(), MAP_QUANTILE, keepdims=True)).squeeze()
        )
        return AnomalyDecode()

    def score(self, answers: Sequence[Anomaly], targets: list[Surface]) -> dict[str, float]:
        """AUROC, figures at the threshold, AUROC of pixels, and both by kind."""
        metric = AnomalyMetric()
        for answer, target in zip(answers, targets, strict=True):
            metric.add(answer, _marked(answer, target))
        return metric.figures()

    def baseline(self, train: PreparedSplit, test: PreparedSplit) -> dict[str, float]:
        """See `baselines`, on 32 x 32 pixels, each picture brought to mean 0 and deviation 1."""
        truth = is_anomalous(self.stack_targets(test.targets)).numpy()
        return baselines(_small(train.inputs[0]), _small(test.inputs[0]), truth)

    def draw(self, folder: Path, samples: Samples, answers: Sequence[Anomaly]) -> None:
        """scores.png: histogram and ROC; maps.png: maps of the surest and of the worst mistaken, beside the truth."""
        targets: list[Surface] = [samples.target(i) for i in range(len(samples))]
        scores = [answer.anomaly_score for answer in answers]
        draw_scores(folder / "scores.png", scores, [target.kind for target in targets], GOOD)
        draw_maps(folder / "maps.png", samples, targets, answers)


def _marked(answer: Anomaly, target: Surface) -> Marked:
    """The truth in the size of the answer's map; none of a defect that nobody outlined."""
    if not target.mask_png:
        return Marked(target.kind)
    return Marked(target.kind, target.mask(*decode_map(answer.anomaly_map.b64).shape))


def _small(images_NHWC: torch.Tensor) -> Array:
    small = functional.adaptive_avg_pool2d(images_NHWC.float().permute(0, 3, 1, 2), BASELINE_SIDE_PX).flatten(1)
    centred = small - small.mean(dim=1, keepdim=True)
    return (centred / centred.std(dim=1, keepdim=True).clamp_min(1.0)).numpy()
