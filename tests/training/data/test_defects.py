"""Painted defects: where the mask says, repeatable, and only there."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="data sets belong to the training extra")

from training.data.defects import KINDS, paint_defects


def surface(seed: int, height_px: int = 48, width_px: int = 64, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 20, (height_px, width_px, channels)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_marked_has_changed(kind: str, channels: int) -> None:
    for seed in range(10):
        clean = surface(seed, channels=channels)
        painted, mask_HW = paint_defects(np.random.default_rng(seed), clean, (kind,), (1, 1))
        assert (painted.shape, painted.dtype) == (clean.shape, np.float32)
        assert (mask_HW.shape, mask_HW.dtype) == (clean.shape[:2], bool)
        if mask_HW.any():  # a crack may run out of the picture at once
            assert np.abs(painted - clean)[mask_HW].mean() > 1


@pytest.mark.parametrize("kind", KINDS)
def test_far_from_the_mask_nothing_changes(kind: str) -> None:
    for seed in range(10):
        clean = surface(seed)
        painted, mask_HW = paint_defects(np.random.default_rng(seed), clean, (kind,), (1, 1))
        share_changed = np.mean(np.abs(painted - clean)[..., 0] > 0.5 * clean.std())
        assert share_changed <= mask_HW.mean() + 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_generator_paints_the_same(kind: str) -> None:
    one, other = (paint_defects(np.random.default_rng(3), surface(0), (kind,)) for _ in range(2))
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])


def test_the_clean_picture_is_left_alone() -> None:
    clean = surface(0)
    before = clean.copy()
    paint_defects(np.random.default_rng(0), clean, tuple(KINDS), (5, 5))
    np.testing.assert_array_equal(clean, before)


@pytest.mark.parametrize("kind", KINDS)
def test_strength_follows_the_pictures_own_contrast(kind: str) -> None:
    """A picture of another scale is painted the same: normalised pictures and raw ones alike."""
    clean = surface(1)
    painted, mask_HW = paint_defects(np.random.default_rng(5), clean, (kind,), (1, 1))
    scaled, scaled_mask_HW = paint_defects(np.random.default_rng(5), (clean - 100) / 20, (kind,), (1, 1))
    np.testing.assert_array_equal(mask_HW, scaled_mask_HW)
    np.testing.assert_allclose(scaled * 20 + 100, painted, atol=0.05)


@pytest.mark.parametrize("size", [(16, 16), (16, 200), (333, 17)])
def test_small_and_long_pictures_can_be_painted(size: tuple[int, int]) -> None:
    for seed in range(20):
        painted, _ = paint_defects(np.random.default_rng(seed), surface(seed, *size), tuple(KINDS))
        assert np.isfinite(painted).all()


def test_a_flat_picture_stays_finite() -> None:
    for seed in range(20):
        painted, _ = paint_defects(np.random.default_rng(seed), np.full((32, 32, 1), 7, np.float32), tuple(KINDS))
        assert np.isfinite(painted).all()
