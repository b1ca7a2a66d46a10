"""Segmentation while training: cross-entropy and overlap, mean IoU, two baselines, overlays of the best and worst."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from bundle.errors import DataError
from bundle.metrics.segmentation import SegmentationMetric, count_pixels, iou, mask_figures
from bundle.overlays import colours, draw_legend, draw_mask
from bundle.preprocess import ImageResize, ImageSource, Limits
from bundle.preprocess.image import read_image
from bundle.tasks import Decode
from bundle.tasks.segmentation import VOID, Segmentation, SegmentationDecode, class_mask
from bundle.tensors import Array
from training.augment import VOID as VOID_TARGET
from training.augment import build_augment
from training.config import Augment
from training.data.prepared import PreparedSplit
from training.data.samples import Samples
from training.figures import draw_bars
from training.graph import Graph

if TYPE_CHECKING:
    from torchmetrics import Metric

NUM_DRAWN = 4  # best and as many worst answers
TILE_WIDTH_PX = 300
TEXT_PX = 15


class SegmentationTraining:
    """One class a pixel; targets are masks of class indices, uint8 [height, width], 255 where nobody knows."""

    metric_name = "miou"
    better: Literal["max", "min"] = "max"
    validation_metric_name = "miou"
    validation_better: Literal["max", "min"] = "max"

    def __init__(self, labels: tuple[str, ...], preprocess: ImageResize) -> None:
        self.labels = labels
        self.num_outputs = len(labels)
        self._size = (preprocess.height_px, preprocess.width_px)

    def tail(self) -> nn.Module:
        """logits -> `mask`, `margin`."""
        return Decide()

    def prepare_target(self, target: Array, source: ImageSource) -> Array:
        """The mask in the size of the prepared picture, by the nearest pixel: uint8 [height, width]."""
        if target.shape != (source.height_px, source.width_px):
            raise DataError(
                f"a mask is {target.shape[1]} x {target.shape[0]} pixels, its picture "
                f"{source.width_px} x {source.height_px}; they must be of one size"
            )
        height_px, width_px = self._size
        return cv2.resize(target, (width_px, height_px), interpolation=cv2.INTER_NEAREST_EXACT)

    def stack_targets(self, targets: list[Array]) -> torch.Tensor:
        """int64 [batch, height, width]; -1 is void."""
        masks = torch.from_numpy(np.stack(targets)).long()
        return torch.where(masks == VOID, VOID_TARGET, masks)

    def augment(self, config: Augment) -> nn.Module | None:
        """Pictures and masks move together."""
        return build_augment(config, *self._size, "mask")

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, label_smoothing: float) -> torch.Tensor:
        """Cross-entropy, which counts pixels, and one minus the soft IoU, which counts classes; void is in neither."""
        logits = logits.float()  # sums over a million pixels
        return _cross_entropy(logits, targets, label_smoothing) + 1 - _soft_iou(logits.softmax(dim=1), targets)

    def new_metric(self) -> "Metric":
        """IoU a class over the whole split, averaged over the classes; void is left out."""
        from training.validation_metrics import MaskIou

        return MaskIou(self.num_outputs, ignore_index=VOID_TARGET, validate_args=False)

    def finish(self, graph: Graph, train: PreparedSplit, validation: PreparedSplit) -> Decode:
        """The labels, in the order of the classes."""
        return SegmentationDecode(labels=self.labels)

    def score(self, answers: Sequence[Segmentation], targets: list[Array]) -> dict[str, float]:
        """Mean IoU, share of right pixels, and IoU a class, in the pixels of the source; void is left out."""
        metric = SegmentationMetric(self.labels)
        for answer, target in zip(answers, targets, strict=True):
            metric.add(answer, target)
        return metric.figures()

    def baseline(self, train: PreparedSplit, test: PreparedSplit) -> dict[str, float]:
        """The commonest class everywhere; at each place the class that is commonest there."""
        at_place = np.zeros((self.num_outputs, *self._size), np.int64)
        for mask_HW in train.targets:
            for index in range(self.num_outputs):
                at_place[index] += mask_HW == index
        commonest = np.full(self._size, at_place.sum(axis=(1, 2)).argmax())
        answers = {"commonest_class": commonest, "commonest_class_at_each_place": at_place.argmax(axis=0)}
        return {name: self._miou(answer, test.targets) for name, answer in answers.items()}

    def _miou(self, answer_HW: Array, targets: Sequence[Array]) -> float:
        """Of one and the same mask for every picture."""
        counts = sum(count_pixels(answer_HW, target, self.num_outputs) for target in targets)
        return mask_figures(np.asarray(counts), self.labels)["miou"]

    def draw(self, folder: Path, samples: Samples, answers: Sequence[Segmentation]) -> None:
        """overlays.png, the best and worst answers beside the truth, and iou_by_class.png."""
        counts = [self._count_one(samples, answers, i) for i in range(len(answers))]
        ious = iou(np.sum(counts, axis=0))
        draw_bars(folder / "iou_by_class.png", self.labels, ious, "IoU on test")
        scores = [float(np.nanmean(iou(count))) if count.any() else 0.0 for count in counts]
        order = np.argsort(scores, kind="stable").tolist()
        worst = order[: min(NUM_DRAWN, len(order) // 2)]
        best = order[::-1][: min(NUM_DRAWN, len(order) - len(worst))]
        columns = [
            [self._draw_row(samples, answers[i], i, f"{rank}: mean IoU {scores[i]:.2f}") for i in chosen]
            for rank, chosen in (("best", best), ("worst", worst))
            if chosen
        ]
        picture = _side_by_side([np.concatenate(column) for column in columns])
        legend = draw_legend(picture.shape[1], self.labels, colours(self.num_outputs), TEXT_PX)
        picture = np.concatenate([picture, legend])
        cv2.imwrite(str(folder / "overlays.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

    def _count_one(self, samples: Samples, answers: Sequence[Segmentation], index: int) -> Array:
        return count_pixels(class_mask(answers[index]), samples.target(index), self.num_outputs)

    def _draw_row(self, samples: Samples, answer: Segmentation, index: int, caption: str) -> Array:
        """The picture, the truth and the answer, side by side under one line of text."""
        image_HWC = read_image(samples.raw(index), Limits())
        size = (TILE_WIDTH_PX, max(1, round(image_HWC.shape[0] * TILE_WIDTH_PX / image_HWC.shape[1])))
        shown_HWC = cv2.resize(image_HWC, size, interpolation=cv2.INTER_AREA)
        masks = [
            cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
            for mask in (samples.target(index), class_mask(answer))
        ]
        tiles = [shown_HWC, *(draw_mask(shown_HWC, mask, colours(self.num_outputs)) for mask in masks)]
        names = (caption, "truth", "answer")
        headed = [np.concatenate([_head(name), tile]) for name, tile in zip(names, tiles, strict=True)]
        return _side_by_side(headed)


class Decide(nn.Module):
    """logits [batch, classes, height, width] -> the best class, uint8, and its lead over the next, float.

    The lead is that of the softmax scores, without computing them all: onnxruntime would turn the tensor round twice
    for a softmax over its second axis, which took as long as half of the network.
    """

    def forward(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Both [batch, height, width]; of equal scores the first class wins."""
        mask = logits.argmax(dim=1, keepdim=True)
        best = logits.amax(dim=1, keepdim=True)
        classes = torch.arange(logits.shape[1], device=logits.device)[:, None, None]
        next_best = torch.where(classes == mask, float("-inf"), logits).amax(dim=1, keepdim=True)
        margin = (1 - (next_best - best).exp()) / (logits - best).exp().sum(dim=1, keepdim=True)
        return mask[:, 0].to(torch.uint8), margin[:, 0]


def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor, label_smoothing: float) -> torch.Tensor:
    """Weighted mean over known pixels; a class's weight falls with the root of its share of the batch.

    Equal weights leave poles and people to chance, inverse shares see them everywhere.
    """
    counts = torch.bincount(targets[targets != VOID_TARGET], minlength=logits.shape[1]).float()
    weights = counts.clamp_min(1).rsqrt()
    total = functional.cross_entropy(
        logits, targets, weights, ignore_index=VOID_TARGET, reduction="sum", label_smoothing=label_smoothing
    )
    return total / (weights * counts).sum().clamp_min(1)  # a batch may be void altogether


def _soft_iou(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean over the classes that are in the batch of intersection over union, both of scores instead of pixels.

    Rahman and Wang 2016.
    """
    known = (targets != VOID_TARGET)[:, None]
    truth = functional.one_hot(targets.clamp_min(0), scores.shape[1]).movedim(-1, 1) * known
    scores = scores * known
    intersection = (scores * truth).sum(dim=(0, 2, 3))
    union = scores.sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3)) - intersection
    present = truth.sum(dim=(0, 2, 3)) > 0
    iou = (intersection + 1) / (union + 1)  # plus one pixel: a class of few pixels does not jump
    return (iou * present).sum() / present.sum().clamp_min(1)


def _side_by_side(pictures: list[Array]) -> Array:
    """Joined, with a gap; the shorter ones end in white."""
    height_px = max(len(picture) for picture in pictures)
    padded = [np.pad(one, ((0, height_px - len(one)), (0, TEXT_PX), (0, 0)), constant_values=255) for one in pictures]
    return np.concatenate(padded, axis=1)


def _head(text: str) -> Array:
    """One line of text as wide as a tile."""
    strip = np.full((round(TEXT_PX * 1.8), TILE_WIDTH_PX, 3), 255, np.uint8)
    cv2.putText(strip, text, (TEXT_PX // 2, round(TEXT_PX * 1.25)), (0, 0, 0), cv2.FontFace("sans"), TEXT_PX)
    return strip
