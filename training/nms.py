"""The numeric tail of a detector, in the graph: candidates -> a fixed number of rows, best first, and their count.

Non-maximum suppression in plain tensor operations (no NonMaxSuppression op, which not every engine runs; no
data-dependent shape): see docs/tasks/detection.md. Knows torch and boxes. Knows nothing of networks or labels' names.
"""

import torch
from torch import nn
from torch.nn import functional

from training.boxes import iou

NUM_ROUNDS = 16


class DetectionTail(nn.Module):
    """The best candidates, freed of those that repeat a better one of the same label.

    Gives, in falling score, rows beyond the count zeroed: `boxes_xyxy` float32 [batch, rows, 4] in 0..1 of the picture,
    `scores` float32 [batch, rows], `labels` int64 [batch, rows], `num_detections` int64 [batch].
    """

    def __init__(self, max_detections: int, num_candidates: int, score_floor: float, nms_iou: float) -> None:
        super().__init__()
        self.max_detections = max_detections
        self.num_candidates = num_candidates
        self.score_floor = score_floor
        self.nms_iou = nms_iou

    def forward(self, candidates: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """logits [batch, N, labels], boxes [batch, N, 4] (and their places, not needed here) -> the four outputs."""
        logits, boxes_xyxy = candidates[0].float(), candidates[1].float().clamp(0, 1)
        best, labels = logits.sigmoid().max(dim=2)  # one label a place: a thing is not two things to a user
        scores, order = best.topk(min(self.num_candidates, best.shape[1]), dim=1)
        boxes_xyxy = boxes_xyxy.gather(1, order[..., None].expand(-1, -1, 4))
        labels = labels.gather(1, order)
        kept = scores * (scores > self.score_floor) * keep(boxes_xyxy, labels, self.nms_iou)
        missing = self.max_detections - kept.shape[1]
        if missing > 0:  # a small picture has fewer places than rows
            kept, labels = (functional.pad(rows, (0, missing)) for rows in (kept, labels))
            boxes_xyxy = functional.pad(boxes_xyxy, (0, 0, 0, missing))
        return _first_rows(kept, boxes_xyxy, labels, self.max_detections)


def keep(boxes_xyxy: torch.Tensor, labels: torch.Tensor, nms_iou: float) -> torch.Tensor:
    """1.0 for every box that greedy suppression keeps, else 0.0: float [batch, K].

    Boxes [batch, K, 4] and labels [batch, K] come best first. A box goes if a kept one before it has its label and
    overlaps it more than `nms_iou`. All boxes are judged at once, round after round, each by the verdicts of the last
    round: after round r the verdict on a box is final where no chain of suppressions that leads to it is longer than r.
    """
    overlaps = iou(boxes_xyxy[:, :, None], boxes_xyxy[:, None])
    rivals = (overlaps > nms_iou) & (labels[:, :, None] == labels[:, None])
    suppresses = rivals.float().tril(-1)  # [batch, K, K]: row = judged, column = a better box
    kept = torch.ones_like(overlaps[:, 0])
    for _ in range(NUM_ROUNDS):
        kept = 1 - (suppresses * kept[:, None]).amax(dim=2)
    return kept


def _first_rows(
    kept: torch.Tensor, boxes_xyxy: torch.Tensor, labels: torch.Tensor, rows: int
) -> tuple[torch.Tensor, ...]:
    """Move the kept (score over 0) to the front and cut."""
    scores, order = kept.topk(rows, dim=1)
    full = scores > 0
    boxes_xyxy = boxes_xyxy.gather(1, order[..., None].expand(-1, -1, 4)) * full[..., None]
    return boxes_xyxy, scores, labels.gather(1, order) * full, full.sum(dim=1)
