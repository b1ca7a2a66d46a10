"""The form of a training task: what the loop, the run folder and export ask of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import nn
from torchmetrics import Metric

from bundle.tasks import Decode
from bundle.tensors import Array
from training.data.prepared import PreparedSplit


class TrainingTask(Protocol):
    """Made from the data set's labels; holds no weights."""

    metric_name: str
    better: Literal["max", "min"]
    """Which way the metric improves."""
    num_outputs: int

    def __init__(self, labels: tuple[str, ...]) -> None: ...

    def decode_parameters(self) -> Decode:
        """What the manifest needs to turn outputs into answers."""
        ...

    def tail(self) -> nn.Module:
        """The numeric tail of the served graph: logits -> the task's output tensors."""
        ...

    def stack_targets(self, targets: list[Any]) -> torch.Tensor:
        """Targets of one batch in the form that loss and metric take."""
        ...

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, label_smoothing: float) -> torch.Tensor:
        """Mean loss of a batch, a scalar."""
        ...

    def new_metric(self) -> Metric:
        """A fresh metric, fed with (logits or served outputs, targets)."""
        ...

    def score(self, answers: Sequence[Any], targets: list[Any]) -> float:
        """The metric from typed answers, as a user would count it."""
        ...

    def baseline(self, train: PreparedSplit, test: PreparedSplit) -> dict[str, float]:
        """The metric on test of what needs no network."""
        ...

    def draw(self, folder: Path, outputs: Array, targets: list[Any]) -> None:
        """Pictures of the test answers that people would rather look at than read."""
        ...
