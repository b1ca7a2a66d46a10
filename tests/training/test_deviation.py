"""Raw deviations become scores between 0 and 1, and the threshold comes from normal samples alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="training needs torch")

from training.deviation import (  # noqa: E402
    baselines,
    bounded,
    is_anomalous,
    threshold_of,
)
from training.validation_metrics import ScoreAuroc  # noqa: E402

LAW = settings(derandomize=True, deadline=None, max_examples=200)
RAW = st.floats(0, 1e6, width=32)


@given(RAW, RAW, st.floats(2**-10, 1e4, width=32))
@LAW
def test_scores_rise_with_what_they_measure_and_cross_a_half_at_the_threshold(
    one: float, other: float, t: float
) -> None:
    scores = bounded(torch.tensor([one, other, t]), torch.tensor(t))
    assert ((scores >= 0) & (scores <= 1)).all()
    assert scores[2] == 0.5
    tied = float(scores[0]) == pytest.approx(float(scores[1]), abs=1e-6)  # far over the threshold both are nearly 1
    assert (scores[0] <= scores[1]) == (one <= other) or tied


def test_the_threshold_lies_two_spreads_over_the_mean_of_the_logarithms() -> None:
    assert float(threshold_of(torch.tensor([1.0, np.e**2]))) == pytest.approx(np.e**3, rel=1e-6)


def test_the_threshold_of_one_value_is_that_value() -> None:
    assert float(threshold_of(torch.tensor([3.0]))) == pytest.approx(3.0)


def test_one_far_outlier_moves_the_threshold_less_than_it_would_move_the_largest_score() -> None:
    scores = torch.linspace(0.5, 1.5, 60)
    with_outlier = torch.cat([scores, torch.tensor([100.0])])
    assert float(threshold_of(with_outlier)) < 5 * float(threshold_of(scores))


def test_perfect_reconstructions_leave_a_threshold_that_divides() -> None:
    threshold = threshold_of(torch.zeros(5))
    assert torch.isfinite(bounded(torch.zeros(3), threshold)).all()


@pytest.mark.parametrize(
    ("targets", "expected"),
    [([0, 1], [False, True]), ([[[0, 0], [0, -1]], [[0, 0], [1, -1]]], [False, True])],
    ids=["labels", "masks"],
)
def test_a_label_or_any_marked_pixel_makes_a_sample_anomalous(targets: list, expected: list[bool]) -> None:
    assert is_anomalous(torch.tensor(targets)).tolist() == expected


def test_the_metric_ranks_scores_of_samples() -> None:
    metric = ScoreAuroc()
    metric.update((torch.tensor([0.1, 0.4]), torch.zeros(2, 3)), torch.tensor([0, 1]))
    metric.update((torch.tensor([0.3, 0.2]), torch.zeros(2, 3)), torch.tensor([0, 1]))
    assert float(metric.compute()) == pytest.approx(0.75)


def test_baselines_know_what_lies_off_the_usual_plane() -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(5, 30))
    train, normal = rng.normal(size=(100, 5)) @ plane, rng.normal(size=(50, 5)) @ plane
    odd = normal + rng.normal(size=(50, 30))
    figures = baselines(train, np.concatenate([normal, odd]), np.repeat([0, 1], 50))
    assert figures["pca"] == 1.0
    assert 0.5 < figures["distance_to_mean"] < 1.0
