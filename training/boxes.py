"""Overlap of boxes, as tensors: intersection over union, and its generalised form that also learns from a miss.

Knows torch. Knows nothing of networks, labels or pictures.
"""

import torch


def area(boxes_xyxy: torch.Tensor) -> torch.Tensor:
    """[..., 4] -> [...]; a box turned inside out has none."""
    sides = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).clamp_min(0)
    return sides[..., 0] * sides[..., 1]


def intersection(one_xyxy: torch.Tensor, other_xyxy: torch.Tensor) -> torch.Tensor:
    """Shared area of boxes [..., 4] that broadcast against each other."""
    left_top = torch.maximum(one_xyxy[..., :2], other_xyxy[..., :2])
    right_bottom = torch.minimum(one_xyxy[..., 2:], other_xyxy[..., 2:])
    return area(torch.cat([left_top, right_bottom], dim=-1))


def iou(one_xyxy: torch.Tensor, other_xyxy: torch.Tensor) -> torch.Tensor:
    """Intersection over union, 0..1, of boxes [..., 4] that broadcast against each other; 0 for two empty boxes."""
    shared = intersection(one_xyxy, other_xyxy)
    return shared / (area(one_xyxy) + area(other_xyxy) - shared).clamp_min(1e-9)


def generalised_iou(one_xyxy: torch.Tensor, other_xyxy: torch.Tensor) -> torch.Tensor:
    """Overlap less the share of the enclosing box that neither covers, -1..1 (Rezatofighi et al. 2019)."""
    shared = intersection(one_xyxy, other_xyxy)
    union = (area(one_xyxy) + area(other_xyxy) - shared).clamp_min(1e-9)
    left_top = torch.minimum(one_xyxy[..., :2], other_xyxy[..., :2])
    right_bottom = torch.maximum(one_xyxy[..., 2:], other_xyxy[..., 2:])
    enclosing = area(torch.cat([left_top, right_bottom], dim=-1)).clamp_min(1e-9)
    return shared / union - (enclosing - union) / enclosing
