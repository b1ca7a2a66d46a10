"""Detectors that need no training, to measure a real one against.

Knows pictures and boxes as arrays. Knows nothing of networks.
"""

import cv2
import numpy as np

from bundle.boxes import Boxes
from bundle.tensors import Array

MIN_AREA_SHARE = 0.25  # of the smallest usual box: smaller specks are noise


def box_grid(known: Array) -> Boxes:
    """Boxes of the commonest label and its usual size, edge to edge; `known` float [n, 5], boxes in 0..1."""
    label, width, height = _usual(known)[_commonest(known)]
    x, y = np.meshgrid(_starts(width), _starts(height))
    left_top = np.stack([x.ravel(), y.ravel()], axis=1)
    boxes_xyxy = np.concatenate([left_top, left_top + np.array([width, height])], axis=1)
    return Boxes(boxes_xyxy, np.full(len(boxes_xyxy), label, np.int64), np.ones(len(boxes_xyxy)))


def otsu_blobs(image_HWC: Array, known: Array) -> Boxes:
    """Connected areas on the rarer side of Otsu's threshold of the grey picture, labelled by whose size is nearest."""
    grey = image_HWC.mean(axis=2).astype(np.uint8)
    _, mask = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    mask = mask if mask.mean() < 0.5 else 1 - mask
    _, _, areas, _ = cv2.connectedComponentsWithStats(mask)
    height_px, width_px = grey.shape
    boxes = areas[1:, :4] / (width_px, height_px, width_px, height_px)  # the first is the ground
    usual = _usual(known)
    boxes = boxes[boxes[:, 2] * boxes[:, 3] > MIN_AREA_SHARE * usual[:, 1:].prod(axis=1).min()]
    sizes = np.log(boxes[:, None, 2:]) - np.log(usual[None, :, 1:])
    labels = usual[np.abs(sizes).sum(axis=2).argmin(axis=1), 0].astype(np.int64)
    boxes_xyxy = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    return Boxes(boxes_xyxy, labels, np.ones(len(boxes)))


def _usual(known: Array) -> Array:
    """[labels that occur, 3]: each with the median width and height of its boxes."""
    sizes = known[:, 3:] - known[:, 1:3]
    return np.array([(label, *np.median(sizes[known[:, 0] == label], axis=0)) for label in np.unique(known[:, 0])])


def _commonest(known: Array) -> int:
    return int(np.unique(known[:, 0], return_counts=True)[1].argmax())


def _starts(side: float) -> Array:
    """As many sides as fit into 1, spread evenly."""
    count = max(int(1 / side), 1)
    return np.arange(count) / count + (1 / count - side) / 2
