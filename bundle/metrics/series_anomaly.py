"""Anomaly detection in series: AUROC, and figures at the threshold. Truths are kinds.

Knows answers and kinds. Knows nothing of series.
"""

from bundle.metrics.metric import Table
from bundle.metrics.verdicts import Verdicts
from bundle.tasks.series_anomaly import SeriesAnomaly


class SeriesAnomalyMetric:
    """Counts verdicts."""

    def __init__(self, normal: str) -> None:
        self._verdicts = Verdicts(normal)

    def add(self, answer: SeriesAnomaly, truth: str) -> float:
        """How far its score lies on the wrong side of the threshold."""
        return self._verdicts.add(answer, truth)

    def figures(self) -> dict[str, float]:
        """AUROC, then figures at the threshold, then AUROC by kind."""
        return self._verdicts.figures() | self._verdicts.by_kind()

    def tables(self) -> list[Table]:
        """Right and wrong verdicts, and each kind's."""
        return self._verdicts.tables()
