"""Anomaly detection in series while training: only normal ones teach, and the threshold is theirs alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import nn

from bundle.metrics.series_anomaly import SeriesAnomalyMetric
from bundle.preprocess import Series, Source
from bundle.tasks import Decode
from bundle.tasks.series_anomaly import SeriesAnomaly, SeriesAnomalyDecode
from training.anomaly_figures import draw_scores, draw_series
from training.config import Augment
from training.data.prepared import PreparedSplit
from training.data.samples import Samples
from training.deviation import (
    baselines,
    bounded,
    deviations,
    is_anomalous,
    threshold_of,
)
from training.graph import Graph

if TYPE_CHECKING:
    from torchmetrics import Metric

NORMAL = 0


class SeriesAnomalyTail(nn.Module):
    """deviation [batch, steps] -> `anomaly_score` [batch], its mean, and `errors` [batch, steps]; both bounded."""

    def __init__(self) -> None:
        super().__init__()
        self.threshold: torch.Tensor
        self.register_buffer("threshold", torch.ones(()))

    def forward(self, deviation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """By the threshold that `finish` set."""
        return bounded(deviation.mean(dim=1), self.threshold), bounded(deviation, self.threshold)


class SeriesAnomalyTraining:
    """One label a series: 0 is normal, any other a kind of anomaly."""

    metric_name = "auroc"
    better: Literal["max", "min"] = "max"
    validation_metric_name = "auroc"
    validation_better: Literal["max", "min"] = "max"
    num_outputs = 1

    def __init__(self, labels: tuple[str, ...], preprocess: Series) -> None:
        self._labels = labels

    def tail(self) -> nn.Module:
        """What the network gives -> score and errors."""
        return SeriesAnomalyTail()

    def prepare_target(self, target: int, source: Source) -> int:
        """1 for any kind of anomaly."""
        return int(target != NORMAL)

    def stack_targets(self, targets: list[int]) -> torch.Tensor:
        """int64 [batch]."""
        return torch.tensor(targets, dtype=torch.int64)

    def augment(self, config: Augment) -> nn.Module | None:
        """Nothing: the changes of pictures mean nothing here."""
        return None

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, label_smoothing: float) -> torch.Tensor:
        """Mean deviation of the normal series; others, which only validation has, do not count."""
        normal = (targets == NORMAL).to(logits.dtype)
        return (logits.mean(dim=1) * normal).sum() / normal.sum().clamp_min(1)

    def new_metric(self) -> "Metric":
        """AUROC of the scores."""
        from training.validation_metrics import ScoreAuroc

        return ScoreAuroc()

    def finish(self, graph: Graph, train: PreparedSplit, validation: PreparedSplit) -> Decode:
        """Set the threshold on the normal series of validation, which the weights have not seen; see `threshold_of`."""
        normal = ~is_anomalous(self.stack_targets(validation.targets))
        raw_scores = deviations(graph, validation.inputs, normal).mean(dim=1)
        tail = graph.tail
        assert isinstance(tail, SeriesAnomalyTail)  # noqa: S101 - this task made it
        tail.threshold.copy_(threshold_of(raw_scores))
        return SeriesAnomalyDecode()

    def score(self, answers: Sequence[SeriesAnomaly], targets: list[int]) -> dict[str, float]:
        """AUROC, then figures at the threshold, then AUROC by kind."""
        metric = SeriesAnomalyMetric(self._labels[NORMAL])
        for answer, target in zip(answers, targets, strict=True):
            metric.add(answer, self._labels[target])
        return metric.figures()

    def baseline(self, train: PreparedSplit, test: PreparedSplit) -> dict[str, float]:
        """See `baselines`."""
        (known,), (asked,) = train.inputs, test.inputs
        return baselines(known.numpy(), asked.numpy(), np.array(test.targets))

    def draw(self, folder: Path, samples: Samples, answers: Sequence[SeriesAnomaly]) -> None:
        """scores.png: histogram and ROC; series.png: the surest and the worst mistaken, with their errors."""
        targets = [samples.target(i) for i in range(len(samples))]
        scores = [answer.anomaly_score for answer in answers]
        draw_scores(folder / "scores.png", scores, [self._labels[target] for target in targets], self._labels[NORMAL])
        draw_series(folder / "series.png", samples, answers, [target != NORMAL for target in targets])
