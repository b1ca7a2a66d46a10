"""The validation metrics of training tasks, by torchmetrics.

Apart from the tasks, and imported where training asks for a metric: export uses the tasks too, logs nothing, and
torchmetrics takes longer to import than torch.
"""

import torch
from torchmetrics.classification import BinaryAUROC, MulticlassAccuracy, MulticlassJaccardIndex

from training.deviation import is_anomalous


class Accuracy(MulticlassAccuracy):
    """Accuracy of served scores."""

    def update(self, outputs: tuple[torch.Tensor, ...], targets: torch.Tensor) -> None:  # type: ignore[override]
        """Count one batch; `outputs` is (scores [batch, labels],)."""
        super().update(outputs[0], targets)


class MaskIou(MulticlassJaccardIndex):
    """torchmetrics' index, updated with (`mask`, `margin`) and targets."""

    def update(self, outputs: tuple[torch.Tensor, ...], targets: torch.Tensor) -> None:  # type: ignore[override]
        """Count the pixels of a batch."""
        super().update(outputs[0].long(), targets)


class ScoreAuroc(BinaryAUROC):
    """AUROC of the first output, a score a sample, over targets that are not all 0 (a label, or a mask)."""

    def __init__(self) -> None:
        super().__init__(thresholds=None)

    def update(self, outputs: tuple[torch.Tensor, ...], targets: torch.Tensor) -> None:  # type: ignore[override]
        """`targets` int64 [batch, ...]: 1 is anomalous."""
        super().update(outputs[0], is_anomalous(targets).long())
