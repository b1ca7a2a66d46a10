"""Overlap of boxes, as tensors: intersection over union, and its generalised form that also learns from a miss.

Side by side rather than corner by corner: engines are fast along long axes and slow along one of two.
Knows torch. Knows nothing of networks, labels or pictures.
"""

import torch


def area(boxes_xyxy: torch.Tensor) -> torch.Tensor:
    """[..., 4] -> [...]; a box turned inside out has none."""
    x0, y0, x1, y1 = boxes_xyxy.unbind(-1)
    return (x1 - x0).clamp_min(0) * (y1 - y0).clamp_min(0)


def intersection(one_xyxy: torch.Tensor, other_xyxy: torch.Tensor) -> torch.Tensor:
    """Shared area of boxes [..., 4] that broadcast against each other."""
    left, top, right, bottom = one_xyxy.unbind(-1)
    x0, y0, x1, y1 = other_xyxy.unbind(-1)
    width = torch.minimum(right, x1) - torch.maximum(left, x0)
    height = torch.minimum(bottom, y1) - torch.maximum(top, y0)
    return width.clamp_min(0) * height.clamp_min(0)


def iou(one_xyxy: torch.Tensor, other_xyxy: torch.Tensor) -> torch.Tensor:
    """Intersection over union, 0..1, of boxes [..., 4] that broadcast against each other; 0 for two empty boxes."""
    shared = intersection(one_xyxy, other_xyxy)
    return shared / (area(one_xyxy) + area(other_xyxy) - shared).clamp_min(1e-9)


def generalised_iou(one_xyxy: torch.Tensor, other_xyxy: torch.Tensor) -> torch.Tensor:
    """Overlap less the share of the enclosing box that neither covers, -1..1 (Rezatofighi et al. 2019)."""
    shared = intersection(one_xyxy, other_xyxy)
    union = (area(one_xyxy) + area(other_xyxy) - shared).clamp_min(1e-9)
    left, top, right, bottom = one_xyxy.unbind(-1)
    x0, y0, x1, y1 = other_xyxy.unbind(-1)
    width = torch.maximum(right, x1) - torch.minimum(left, x0)
    height = torch.maximum(bottom, y1) - torch.minimum(top, y0)
    enclosing = (width * height).clamp_min(1e-9)
    return shared / union - (enclosing - union) / enclosing
