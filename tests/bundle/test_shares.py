import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.shares import NUM_SCORE_BINS, count_one, count_scores, shares, sums

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@given(SCORES)
def test_scores_counted_one_by_one_are_counted_as_all_at_once(scores: list[float]) -> None:
    one_by_one = sums({"scores": count_scores([score])} for score in scores)
    assert one_by_one["scores"].tolist() == count_scores(scores).tolist()


@given(SCORES)
def test_shares_sum_to_one(scores: list[float]) -> None:
    assert sum(shares({"scores": count_scores(scores)})["scores"]) == pytest.approx(1)


def test_a_score_that_rounding_left_above_one_is_in_the_last_bin() -> None:
    assert count_scores([1.0000001]).tolist() == count_one(NUM_SCORE_BINS - 1, NUM_SCORE_BINS).tolist()


def test_no_scores_are_zeros_in_every_bin() -> None:
    assert count_scores([]).tolist() == [0.0] * NUM_SCORE_BINS


def test_sums_leave_what_was_counted_as_it_was() -> None:
    first = {"a": np.array([1.0, 0.0])}
    assert sums([first, {"a": np.array([0.0, 2.0])}, {"b": np.array([3.0])}])["a"].tolist() == [1, 2]
    assert first["a"].tolist() == [1, 0]
