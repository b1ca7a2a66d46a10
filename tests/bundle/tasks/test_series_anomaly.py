"""Scores of series become verdicts, with an error for every time step."""

import msgspec
import numpy as np
import pytest

from bundle.preprocess import Series, SeriesSource
from bundle.tasks.series_anomaly import (
    SeriesAnomaly,
    SeriesAnomalyDecode,
    SeriesAnomalyOptions,
    SeriesAnomalyTask,
)
from bundle.tensors import Tensors, TensorSpec

TASK = SeriesAnomalyTask(SeriesAnomalyDecode())
ERRORS = (0.25, 0.5, 0.75)


def row(score: float, errors: tuple[float, ...] = ERRORS) -> Tensors:
    return {"anomaly_score": np.float32(score), "errors": np.array(errors, np.float32)}


def answer(score: float, errors: tuple[float, ...] = ERRORS, **options: float) -> SeriesAnomaly:
    return TASK.decode(row(score, errors), SeriesSource(len(errors)), SeriesAnomalyOptions(**options))


def test_there_is_an_error_for_every_time_step() -> None:
    assert TASK.output_specs(Series(num_steps=140)) == (
        TensorSpec(name="anomaly_score", dtype="float32", shape=("batch",)),
        TensorSpec(name="errors", dtype="float32", shape=("batch", 140)),
    )
    assert answer(0.5).errors == ERRORS


@pytest.mark.parametrize(("score", "verdict"), [(0.25, False), (0.5, True), (0.75, True)])
def test_a_score_at_the_threshold_is_anomalous(score: float, verdict: bool) -> None:
    assert answer(score) == SeriesAnomaly(score, 0.5, verdict, ERRORS)


def test_a_caller_may_choose_another_threshold() -> None:
    assert answer(0.5, threshold=0.75) == SeriesAnomaly(0.5, 0.75, False, ERRORS)


@pytest.mark.parametrize("options", [{"threshold": 2}, {"format": "png"}])
def test_options_that_mean_nothing_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, SeriesAnomalyOptions)


def test_another_verdict_is_told_unless_it_is_a_tie() -> None:
    assert TASK.agree(answer(0.5078125), answer(0.4921875), atol=0.0078125) is None
    assert "expected anomalous" in str(TASK.agree(answer(0.75), answer(0.25), atol=0.01))


def test_another_number_of_steps_is_told() -> None:
    assert "errors of 3 time steps, got 2" in str(TASK.agree(answer(0.75), answer(0.75, ERRORS[:2]), 0.1))


def test_the_largest_errors_count() -> None:
    assert TASK.differences(row(0.5), row(0.25, (0.25, 0.25, 0.75))) == {"anomaly_score": 0.25, "errors": 0.25}
    assert TASK.differences(row(0.5), row(0.5, ERRORS[:2]))["errors"] == np.inf


def test_statistics_count_verdicts_and_scores() -> None:
    statistics = TASK.summarise([answer(score) for score in (0.05, 0.45, 0.55, 1.0)])
    assert statistics["anomalous_share"] == [0.5, 0.5]
    assert sum(statistics["score_histogram"]) == 1
