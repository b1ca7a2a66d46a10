"""Anomaly detection in series: how far from normal the whole is, and at which time steps.

Scores and errors are bounded as those of pictures are (bundle/tasks/anomaly.py): 0.5 is the threshold.
Knows score and error tensors. Knows nothing of how they were made.
"""

from typing import ClassVar, Literal

import msgspec

from bundle.preprocess import Series, SeriesSource
from bundle.shares import Counts, shares, sums
from bundle.spec import Spec
from bundle.tasks.anomaly import ChosenThreshold, Threshold, count_verdict, verdicts_differ
from bundle.tensors import Tensors, TensorSpec, max_abs_error


class SeriesAnomalyDecode(Spec):
    """From which score on a series is anomalous."""

    kind: Literal["series-anomaly"] = "series-anomaly"
    threshold: Threshold = 0.5


class SeriesAnomalyOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a caller may choose for one request."""

    threshold: ChosenThreshold | None = None


class SeriesAnomaly(msgspec.Struct, frozen=True):
    """How far from normal a series is (0 to 1), whether that is too far, and the error at each time step."""

    anomaly_score: float
    threshold: float
    is_anomalous: bool
    errors: tuple[float, ...]
    """One a time step, 0 to 1; 0.5 where the step alone is as far off as a whole series at its threshold."""


class SeriesAnomalyTask:
    """Score and errors -> verdict. The graph gives `anomaly_score` [batch] and `errors` [batch, number of steps]."""

    decode_type: ClassVar[type] = SeriesAnomalyDecode
    options_type = SeriesAnomalyOptions
    result_type = SeriesAnomaly

    def __init__(self, parameters: SeriesAnomalyDecode) -> None:
        self._threshold = parameters.threshold

    def output_specs(self, preprocess: Series) -> tuple[TensorSpec, ...]:
        """The score, and an error a time step; float32, 0 to 1."""
        return (
            TensorSpec(name="anomaly_score", dtype="float32", shape=("batch",)),
            TensorSpec(name="errors", dtype="float32", shape=("batch", preprocess.num_steps)),
        )

    def golden_options(self) -> SeriesAnomalyOptions:
        """The model's own threshold."""
        return SeriesAnomalyOptions()

    def decode(self, outputs: Tensors, source: SeriesSource, options: SeriesAnomalyOptions) -> SeriesAnomaly:
        """The verdict on one series."""
        score = float(outputs["anomaly_score"])
        threshold = self._threshold if options.threshold is None else options.threshold
        return SeriesAnomaly(score, threshold, score >= threshold, tuple(outputs["errors"].tolist()))

    def differences(self, expected: Tensors, got: Tensors) -> dict[str, float]:
        """Largest error of the score and of the errors."""
        return {name: max_abs_error(expected[name], got[name]) for name in ("anomaly_score", "errors")}

    def agree(self, expected: SeriesAnomaly, got: SeriesAnomaly, atol: float) -> str | None:
        """Same verdict, ties aside, on as many time steps."""
        if len(expected.errors) != len(got.errors):
            return f"expected errors of {len(expected.errors)} time steps, got {len(got.errors)}"
        return verdicts_differ(expected, got, atol)

    def summarise(self, results: list[SeriesAnomaly]) -> dict[str, list[float]]:
        """See `count_verdict`."""
        return shares(sums(map(self.count, results)))

    def count(self, result: SeriesAnomaly) -> Counts:
        """See `count_verdict`."""
        return count_verdict(result)
