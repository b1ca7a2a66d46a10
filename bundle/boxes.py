"""Overlap of boxes, and how far two sets of detections of one picture are apart, whatever order they come in.

Knows arrays. Knows nothing of labels' names, pictures or engines.
"""

from dataclasses import dataclass

import numpy as np

from bundle.tensors import Array

SAME_IOU = 0.5  # what overlaps less is another thing
SLACK = 0.1  # an overlap that decides over suppression may itself differ by this: int8 moves sides by a pixel or two
REPLACED_SHARE = 0.25  # of a picture's boxes; more than that are no ties, the boxes are wrong


@dataclass(frozen=True)
class Boxes:
    """The detections of one picture; boxes in any one unit."""

    boxes_xyxy: Array
    """float [n, 4]."""
    labels: Array
    """int [n]."""
    scores: Array
    """float [n]."""

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, chosen: Array) -> "Boxes":
        """Some of them, by index or by mask."""
        return Boxes(self.boxes_xyxy[chosen], self.labels[chosen], self.scores[chosen])


@dataclass(frozen=True)
class Selection:
    """How a detector selected them: what explains that one is there and another is not."""

    score_floor: float
    nms_iou: float
    max_detections: int


def iou(one_xyxy: Array, other_xyxy: Array) -> Array:
    """Intersection over union of every box [n, 4] with every other [m, 4]: [n, m], 0 for empty boxes."""
    one, other = one_xyxy.astype(np.float64), other_xyxy.astype(np.float64)
    left_top = np.maximum(one[:, None, :2], other[None, :, :2])
    right_bottom = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.clip(right_bottom - left_top, 0, None).prod(axis=2)
    union = _area(one)[:, None] + _area(other)[None] - shared
    overlaps: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlaps


def same_label_iou(one: Boxes, other: Boxes) -> Array:
    """As `iou`, 1 between equal boxes even where they are empty, and 0 between boxes of unlike labels."""
    overlaps = iou(one.boxes_xyxy, other.boxes_xyxy)
    overlaps[(one.boxes_xyxy[:, None] == other.boxes_xyxy[None]).all(axis=2)] = 1.0
    overlaps[one.labels[:, None] != other.labels[None]] = 0.0
    return overlaps


def distance(expected: Boxes, got: Boxes, selection: Selection) -> tuple[float, float]:
    """How far scores and boxes would have to move for one answer to become the other: (of a score, of a side).

    A detector selects, so an error too small to matter can still make a box appear, vanish or give way to another.
    Each detection is read in the way that needs the least change: it moved (to the nearest box of its label in the
    other answer that overlaps it by half; score and sides count), or it vanished (its score fell to the floor, or
    behind the last of a full list). For at most a quarter of the boxes, those that differ most, a third reading is
    allowed: another candidate for the same thing won by a hair and suppressed it, so that only the scores count.
    """
    there, back = _one_way(expected, got, selection), _one_way(got, expected, selection)
    score, side = np.maximum(there, back).tolist()
    return score, side


def _one_way(one: Boxes, other: Boxes, selection: Selection) -> Array:
    """[2]: the largest change of a score and of a side over the detections of `one`."""
    if not len(one):
        return np.zeros(2)
    changes = _moved_or_vanished(one, other, selection)
    replaced = _replaced(one, other, selection.nms_iou - SLACK)
    worst = np.argsort(-changes.max(axis=1), kind="stable")[: int(REPLACED_SHARE * len(one))]
    better = worst[replaced[worst] < changes[worst].max(axis=1)]
    changes[better] = np.stack([replaced[better], np.zeros(len(better))], axis=1)
    largest: Array = changes.max(axis=0)
    return largest


def _moved_or_vanished(one: Boxes, other: Boxes, selection: Selection) -> Array:
    """[n, 2]: the change of score and of side in the reading that needs less."""
    full = len(other) >= selection.max_detections
    limit = float(other.scores.min()) if full else selection.score_floor
    vanished = np.stack([np.abs(one.scores - limit), np.zeros(len(one))], axis=1)
    if not len(other):
        return vanished
    scores = np.abs(one.scores[:, None] - other.scores[None])
    sides = np.abs(one.boxes_xyxy[:, None] - other.boxes_xyxy[None]).max(axis=2)
    same = same_label_iou(one, other) > SAME_IOU
    moved = np.where(same[..., None], np.stack([scores, sides], axis=2), np.inf)  # [n, m, 2]
    nearest = moved[np.arange(len(one)), moved.max(axis=2).argmin(axis=1)]
    return np.where((nearest.max(axis=1) <= vanished.max(axis=1))[:, None], nearest, vanished)


def _replaced(one: Boxes, other: Boxes, overlap: float) -> Array:
    """[n]: by how much each score is over the best of its label in `other` that overlaps it enough to suppress it."""
    if not len(other):
        return np.full(len(one), np.inf)
    rivals = np.where(same_label_iou(one, other) > overlap, other.scores[None], -np.inf)
    over: Array = np.maximum(one.scores - rivals.max(axis=1), 0)
    return over


def _area(boxes_xyxy: Array) -> Array:
    area: Array = np.clip(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0, None).prod(axis=1)
    return area
