"""Which place answers for which box, and how good its answer should be called; and the loss that follows.

Task-aligned assignment (Feng et al. 2021, TOOD): of the places inside a true box, those learn it whose class score and
overlap are already best together. It needs no anchors, no scale ranges and no centreness. Knows torch and boxes.
Knows nothing of networks or pictures.
"""

from typing import NamedTuple

import torch
from torch.nn import functional

from training.boxes import generalised_iou, iou

PADDING = -1
NUM_PLACES = 10  # places that learn one box; TOOD has 13 at strides from 8 to 128, where a box covers more places
SCORE_POWER, IOU_POWER = 0.5, 6.0  # overlap decides, the score breaks ties, as in YOLOv8
BOX_WEIGHT = 2.0  # TOOD's


class Assignment(NamedTuple):
    """What each place should answer; N places."""

    quality: torch.Tensor
    """float [batch, N, labels]: 0..1, and 0 where the place is background."""
    boxes_xyxy: torch.Tensor
    """float [batch, N, 4]: the box to learn; without meaning where the place is background."""


def detection_loss(
    logits: torch.Tensor, boxes_xyxy: torch.Tensor, points_xy: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Binary cross-entropy to the quality, and 1 - generalised IoU weighted by it; both a unit of quality.

    Shapes as `Candidates`; targets float [batch, M, 5] = (label, x0, y0, x1, y1), boxes in 0..1, label -1 = padding.
    """
    with torch.no_grad():
        wanted = assign(logits.sigmoid(), boxes_xyxy, points_xy, targets)
    total = wanted.quality.sum().clamp_min(1.0)
    classes = functional.binary_cross_entropy_with_logits(logits, wanted.quality, reduction="sum")
    misses = (1 - generalised_iou(boxes_xyxy, wanted.boxes_xyxy)) * wanted.quality.sum(dim=-1)
    return (classes + BOX_WEIGHT * misses.sum()) / total


def assign(
    scores: torch.Tensor, boxes_xyxy: torch.Tensor, points_xy: torch.Tensor, targets: torch.Tensor
) -> Assignment:
    """Choose places for every true box; a place wanted by two boxes takes the one that it overlaps more."""
    labels, truths_xyxy = targets[..., 0].long(), targets[..., 1:]
    overlaps = iou(truths_xyxy[:, :, None], boxes_xyxy[:, None])  # [batch, M, N]
    of_label = labels.clamp_min(0)[:, :, None].expand(-1, -1, scores.shape[1])
    aligned = scores.transpose(1, 2).gather(1, of_label) ** SCORE_POWER * overlaps**IOU_POWER
    allowed = _inside(points_xy, truths_xyxy) & (labels != PADDING)[:, :, None]
    chosen = _best_places(aligned, allowed)
    chosen &= functional.one_hot((overlaps * chosen).argmax(dim=1), overlaps.shape[1]).transpose(1, 2).bool()
    quality = _quality(aligned * chosen, overlaps * chosen)  # [batch, M, N]
    owner = chosen.int().argmax(dim=1)  # [batch, N]
    truths = truths_xyxy.gather(1, owner[..., None].expand(-1, -1, 4))
    by_label = functional.one_hot(labels.clamp_min(0), scores.shape[2]).to(quality.dtype)
    return Assignment(quality.transpose(1, 2) @ by_label, truths)


def _inside(points_xy: torch.Tensor, boxes_xyxy: torch.Tensor) -> torch.Tensor:
    """[N, 2], [batch, M, 4] -> bool [batch, M, N]."""
    left_top, right_bottom = boxes_xyxy[:, :, None, :2], boxes_xyxy[:, :, None, 2:]
    return ((points_xy > left_top) & (points_xy < right_bottom)).all(dim=-1)


def _best_places(aligned: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """bool [batch, M, N]: the places of each box that are aligned best, among the allowed."""
    ranked = torch.where(allowed, aligned, -1.0)
    best = ranked.topk(min(NUM_PLACES, ranked.shape[2]), dim=2).indices
    return torch.zeros_like(allowed).scatter_(2, best, True) & allowed


def _quality(aligned: torch.Tensor, overlaps: torch.Tensor) -> torch.Tensor:
    """Alignment scaled so that a box's best place should score what its best overlap is."""
    best_aligned = aligned.amax(dim=2, keepdim=True).clamp_min(1e-30)
    return aligned / best_aligned * overlaps.amax(dim=2, keepdim=True)
