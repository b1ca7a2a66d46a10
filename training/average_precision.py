"""COCO's average precision as a metric that the training loop can log.

Knows a graph's outputs. What the figure is stands in bundle/metrics/average_precision.py.
"""

import numpy as np
import torch
from torchmetrics import Metric

from bundle.boxes import Boxes
from bundle.metrics.average_precision import Truth, average_precision


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
