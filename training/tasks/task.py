"""The form of a training task: what the loop, the run folder and export ask of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import nn

from bundle.preprocess import Preprocess, Source
from bundle.tasks import Decode
from training.config import Augment
from training.data.prepared import PreparedSplit
from training.data.samples import Samples
from training.graph import Graph

if TYPE_CHECKING:
    from torchmetrics import Metric


class TrainingTask(Protocol):
    """Made from the data set's labels and the preprocessing; holds no weights."""

    metric_name: str
    """The figure of the test split that export guards; the first one that `score` gives."""
    better: Literal["max", "min"]
    """Which way it improves."""
    validation_metric_name: str
    """What the best epoch is chosen by."""
    validation_better: Literal["max", "min"]
    num_outputs: int

    def __init__(self, labels: tuple[str, ...], preprocess: Preprocess) -> None: ...

    def tail(self) -> nn.Module:
        """The numeric tail of the served graph: what the network gives -> the task's output tensors, in order."""
        ...

    def prepare_target(self, target: Any, source: Source) -> Any:
        """A sample's target in the source's own measure -> what fits the prepared row."""
        ...

    def stack_targets(self, targets: list[Any]) -> torch.Tensor:
        """Targets of one batch in the form that loss and metric take."""
        ...

    def augment(self, config: Augment) -> nn.Module | None:
        """Random changes: (features, targets) -> (features, targets); None where nothing is to be changed."""
        ...

    def loss(self, logits: Any, targets: torch.Tensor, label_smoothing: float) -> torch.Tensor:
        """Mean loss of a batch, a scalar; `logits` is what the network gives."""
        ...

    def new_metric(self) -> "Metric":
        """A fresh validation metric, updated with (output tensors as served, targets)."""
        ...

    def finish(self, graph: Graph, train: PreparedSplit, validation: PreparedSplit) -> Decode:
        """What the manifest needs to turn outputs into answers: labels, thresholds.

        Called with the best epoch's weights; may set buffers of the graph that no gradient reaches.
        """
        ...

    def score(self, answers: Sequence[Any], targets: list[Any]) -> dict[str, float]:
        """The test split's figures from typed answers, as a user would count them; `metric_name` first."""
        ...

    def baseline(self, train: PreparedSplit, test: PreparedSplit) -> dict[str, float]:
        """`metric_name` on test of what needs no network, by name of the baseline."""
        ...

    def draw(self, folder: Path, samples: Samples, answers: Sequence[Any]) -> None:
        """Pictures of the test answers that people would rather look at than read."""
        ...
