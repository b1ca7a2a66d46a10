"""Scores become verdicts by one threshold, and maps come back in the picture's own size."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bundle.heatmap import decode_map
from bundle.preprocess import ImageResize, ImageSource
from bundle.tasks.anomaly import MIN_PIXEL_AGREEMENT, Anomaly, AnomalyDecode, AnomalyOptions, AnomalyTask
from bundle.tensors import Tensors, TensorSpec

LAW = settings(derandomize=True, deadline=None, max_examples=200)
SOURCE = ImageSource(height_px=30, width_px=20)
TASK = AnomalyTask(AnomalyDecode())


def row(score: float, map_HW: np.ndarray | None = None) -> Tensors:
    level_HW = np.zeros((10, 10), np.float32) if map_HW is None else map_HW
    return {"anomaly_score": np.float32(score), "anomaly_map": level_HW}


def answer(score: float, map_HW: np.ndarray | None = None, **options: float) -> Anomaly:
    return TASK.decode(row(score, map_HW), SOURCE, AnomalyOptions(**options))


def half_anomalous(columns: int) -> np.ndarray:
    map_HW = np.full((10, 10), 0.1, np.float32)
    map_HW[:, :columns] = 0.9
    return map_HW


def test_outputs_have_the_size_of_the_prepared_picture() -> None:
    assert TASK.output_specs(ImageResize(height_px=12, width_px=34)) == (
        TensorSpec(name="anomaly_score", dtype="float32", shape=("batch",)),
        TensorSpec(name="anomaly_map", dtype="float32", shape=("batch", 12, 34)),
    )


@pytest.mark.parametrize(("score", "verdict"), [(0.49, False), (0.5, True), (0.51, True)])
def test_a_score_at_the_threshold_is_anomalous(score: float, verdict: bool) -> None:
    got = answer(score)
    assert (got.is_anomalous, got.threshold) == (verdict, 0.5)


def test_a_caller_may_choose_another_threshold() -> None:
    got = answer(0.5, threshold=0.7)
    assert (got.is_anomalous, got.threshold) == (False, 0.7)


def test_the_map_has_the_pictures_own_size_and_says_how_much_is_over_its_threshold() -> None:
    got = answer(0.5, half_anomalous(5)).anomaly_map
    assert decode_map(got.b64).shape == (30, 20)
    assert (got.threshold, got.share) == (0.5, pytest.approx(0.5, abs=0.06))


def test_the_map_is_base64_in_json() -> None:
    document = msgspec.json.decode(msgspec.json.encode(answer(0.5)))
    assert document["anomaly_map"]["b64"].startswith("iVBOR")


@pytest.mark.parametrize("options", [{"threshold": 1.5}, {"threshold": -0.1}, {"format": "jpeg"}, {"thresh": 0.5}])
def test_options_that_mean_nothing_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, AnomalyOptions)


@pytest.mark.parametrize("parameters", [{"threshold": 0.0}, {"threshold": 1.0}, {"map_threshold": -1}])
def test_decode_parameters_that_mean_nothing_are_refused(parameters: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        AnomalyDecode.model_validate(parameters)


@given(st.floats(0, 1, width=32), st.floats(0, 1, width=32), st.floats(0, 0.2))
@LAW
def test_verdicts_agree_unless_the_error_cannot_explain_it(expected: float, got: float, atol: float) -> None:
    same = (expected >= 0.5) == (got >= 0.5)
    tie = abs(expected - 0.5) <= atol
    assert (TASK.agree(answer(expected), answer(got), atol) is None) == (same or tie)


def test_another_verdict_is_told_with_its_scores() -> None:
    assert TASK.agree(answer(0.75), answer(0.25), 0.01) == (
        "expected anomalous (score 0.7500), got normal (0.2500), and an error of 0.01 cannot carry it over the "
        "threshold 0.5000"
    )


def test_another_threshold_is_told() -> None:
    assert "got one at 0.7000" in str(TASK.agree(answer(0.9), answer(0.9, threshold=0.7), 0.1))


def test_a_map_that_moved_is_told() -> None:
    assert "changed sides" in str(TASK.agree(answer(0.9, half_anomalous(5)), answer(0.9, half_anomalous(4)), 0.0))


def test_a_map_of_another_size_is_told() -> None:
    other = TASK.decode(row(0.9), ImageSource(10, 10), AnomalyOptions())
    assert TASK.agree(answer(0.9), other, 0.1) == "expected a map of 20 x 30 pixels, got one of 10 x 10 pixels"


def test_a_few_pixels_may_change_sides() -> None:
    map_HW = half_anomalous(5)
    moved = map_HW.copy()
    moved[0, 5] = 0.9
    assert 1 / map_HW.size < 1 - MIN_PIXEL_AGREEMENT
    assert TASK.agree(answer(0.9, map_HW), answer(0.9, moved), 0.0) is None


def test_values_at_the_maps_threshold_may_fall_on_either_side() -> None:
    below, above = (np.full((10, 10), value, np.float32) for value in (0.499, 0.501))
    assert TASK.agree(answer(0.9, below), answer(0.9, above), 0.0) is None


def test_a_scores_largest_and_a_maps_mean_error_count() -> None:
    assert TASK.differences(row(0.5, half_anomalous(5)), row(0.75, half_anomalous(4))) == {
        "anomaly_score": pytest.approx(0.25),
        "anomaly_map": pytest.approx(0.08),
    }


def test_maps_of_unlike_shape_or_not_finite_are_infinitely_far_apart() -> None:
    assert TASK.differences(row(0.5), row(0.5, np.zeros((9, 10), np.float32)))["anomaly_map"] == np.inf
    assert TASK.differences(row(0.5), row(0.5, np.full((10, 10), np.nan, np.float32)))["anomaly_map"] == np.inf


def test_statistics_count_verdicts_and_scores() -> None:
    statistics = TASK.summarise([answer(score) for score in (0.05, 0.45, 0.55, 1.0)])
    assert statistics["anomalous_share"] == [0.5, 0.5]
    assert statistics["score_histogram"] == [0.25, 0, 0, 0, 0.25, 0.25, 0, 0, 0, 0.25]
