"""Classification while training: cross-entropy, accuracy, two baselines, a confusion matrix."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional

from bundle.metrics.classification import ClassificationMetric
from bundle.preprocess import ImageResize, Preprocess, Source
from bundle.tasks import Decode
from bundle.tasks.classification import Classification, ClassificationDecode
from bundle.tensors import Array
from training.augment import build_augment
from training.config import Augment
from training.data.prepared import PreparedSplit
from training.data.samples import Samples
from training.figures import draw_confusion
from training.graph import Graph

if TYPE_CHECKING:
    from torchmetrics import Metric

MAX_BASELINE_SAMPLES = 10_000  # logistic regression on more takes minutes and moves the figure by about a point


class ClassificationTraining:
    """One label a sample; targets are label indices."""

    metric_name = validation_metric_name = "accuracy"
    better: Literal["max", "min"] = "max"
    validation_better: Literal["max", "min"] = "max"

    def __init__(self, labels: tuple[str, ...], preprocess: Preprocess) -> None:
        self.labels = labels
        self.num_outputs = len(labels)
        self.preprocess = preprocess

    def finish(self, graph: Graph, train: PreparedSplit, validation: PreparedSplit) -> Decode:
        """The labels, in the order of the scores."""
        return ClassificationDecode(labels=self.labels)

    def tail(self) -> nn.Module:
        """logits -> `scores`, float [batch, labels], each row summing to 1."""
        return nn.Softmax(dim=1)

    def prepare_target(self, target: int, source: Source) -> int:
        """A label is a label at any size."""
        return target

    def augment(self, config: Augment) -> nn.Module | None:
        """Random changes to the pictures; labels stay."""
        assert isinstance(self.preprocess, ImageResize)  # noqa: S101 - the architecture's tasks say so
        return build_augment(config, self.preprocess.height_px, self.preprocess.width_px, "label")

    def stack_targets(self, targets: list[Any]) -> torch.Tensor:
        """int64 [batch]."""
        return torch.tensor(targets, dtype=torch.int64)

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, label_smoothing: float) -> torch.Tensor:
        """Cross-entropy (label smoothing as in Szegedy et al. 2016)."""
        return functional.cross_entropy(logits, targets, label_smoothing=label_smoothing)

    def new_metric(self) -> "Metric":
        """Share of samples whose best score is the right label's (micro average: every sample counts the same)."""
        from training.validation_metrics import Accuracy

        return Accuracy(num_classes=self.num_outputs, average="micro")

    def score(self, answers: Sequence[Classification], targets: list[int]) -> dict[str, float]:
        """Share of answers whose label is the target's."""
        return self._counted(answers, targets).figures()

    def _counted(self, answers: Sequence[Classification], targets: Sequence[int]) -> ClassificationMetric:
        metric = ClassificationMetric(self.labels)
        for answer, target in zip(answers, targets, strict=True):
            metric.add(answer, target)
        return metric

    def baseline(self, train: PreparedSplit, test: PreparedSplit) -> dict[str, float]:
        """Always the commonest label; logistic regression on the pixels of the first samples."""
        targets = np.array(test.targets)
        commonest = np.bincount(train.targets).argmax()
        pixels = _pixels(train)[:MAX_BASELINE_SAMPLES]
        model = LogisticRegression(max_iter=1000, tol=1e-3).fit(pixels, train.targets[:MAX_BASELINE_SAMPLES])
        return {
            "commonest_label": float(np.mean(targets == commonest)),
            "logistic_regression": float(model.score(_pixels(test), targets)),
        }

    def draw(self, folder: Path, samples: Samples, answers: Sequence[Classification]) -> None:
        """confusion_matrix.png of the test split."""
        counts = self._counted(answers, [samples.target(i) for i in range(len(samples))]).counts
        draw_confusion(folder / "confusion_matrix.png", counts, self.labels)


def _pixels(split: PreparedSplit) -> Array:
    return (split.inputs[0].reshape(len(split), -1).numpy() / 255).astype(np.float32)
