"""Pictures of the bench: the same ones everywhere, and as heavy as photographs are."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the digits come with scikit-learn")

from loadtests.pictures import HUES, PHOTO_BYTES, PHOTO_HEIGHT_PX, PHOTO_WIDTH_PX, as_jpeg, draw_photo


def test_a_photo_weighs_what_a_photograph_does() -> None:
    image_HWC = draw_photo(np.random.default_rng(1), HUES["azure"])
    assert image_HWC.shape == (PHOTO_HEIGHT_PX, PHOTO_WIDTH_PX, 3)
    assert 0.8 * PHOTO_BYTES < len(as_jpeg(image_HWC)) <= PHOTO_BYTES


def test_a_photo_follows_from_its_seed() -> None:
    one, same, other = (draw_photo(np.random.default_rng(seed), 60) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
