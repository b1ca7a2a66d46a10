import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.observing.psi import MAX_BINS, MIN_SAMPLES, NOTABLE, SERIOUS, is_distribution, psi

UNIFORM = [0.1] * 10
MANY = 5000


def drawn(shares: list[float], number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).multinomial(number, shares).astype(np.float64)


def test_equal_shares_have_an_index_of_zero() -> None:
    assert psi(UNIFORM, np.full(10, 100.0), MANY) == 0


@pytest.mark.parametrize("bins", [2, 10, 50])
@pytest.mark.parametrize("seed", range(5))
def test_samples_of_the_reference_itself_are_not_notable(bins: int, seed: int) -> None:
    shares = np.random.default_rng(bins).dirichlet(np.ones(bins)).tolist()
    assert psi(shares, drawn(shares, 1000, seed), MANY) < NOTABLE


def test_a_known_shift_has_the_index_that_the_formula_gives() -> None:
    expected = 0.2 * math.log(0.7 / 0.5) + -0.2 * math.log(0.3 / 0.5)
    assert psi([0.5, 0.5], np.array([700.0, 300.0]), MANY) == pytest.approx(expected)


def test_a_shift_to_other_bins_is_serious() -> None:
    assert psi(UNIFORM, drawn([0.4, 0.3, 0.1, *[0.2 / 7] * 7], 1000), MANY) > SERIOUS


def test_what_was_never_seen_in_the_reference_counts_and_is_no_infinity() -> None:
    index = psi([1.0, 0.0], np.array([700.0, 300.0]), MANY)
    assert SERIOUS < index < 10


def test_one_rare_event_is_not_notable() -> None:
    assert psi([1.0, 0.0], np.array([999.0, 1.0]), 200) < NOTABLE


@pytest.mark.parametrize("bins", [2, 6])
def test_too_few_samples_have_no_index(bins: int) -> None:
    shares = [1 / bins] * bins
    assert math.isnan(psi(shares, drawn(shares, MIN_SAMPLES - 1), MANY))
    assert not math.isnan(psi(shares, drawn(shares, MIN_SAMPLES), MANY))


def test_many_bins_ask_for_more_samples() -> None:
    shares = [1 / MAX_BINS] * MAX_BINS
    assert math.isnan(psi(shares, drawn(shares, 900), MANY))


def test_a_thousand_labels_are_grouped_and_still_tell_a_shift() -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(1000)).tolist()
    assert psi(shares, drawn(shares, 1000), MANY) < NOTABLE
    shifted = np.array(shares)
    shifted[:500] *= 3
    assert psi(shares, drawn((shifted / shifted.sum()).tolist(), 1000), MANY) > SERIOUS


@given(st.lists(st.integers(0, 1000), min_size=3, max_size=3), st.lists(st.integers(1, 100), min_size=3, max_size=3))
def test_the_index_is_never_below_zero(counts: list[int], reference: list[int]) -> None:
    index = psi([one / sum(reference) for one in reference], np.array(counts, np.float64), sum(reference))
    assert math.isnan(index) or index >= 0


@pytest.mark.parametrize("reference", [[1.0], [], [0.5, 0.4], [1.5, -0.5], [math.nan, 1.0]])
def test_only_shares_of_one_whole_are_compared(reference: list[float]) -> None:
    assert not is_distribution(reference)
