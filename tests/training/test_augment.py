"""Augmentation: shapes stay, a seed repeats it, nothing asked is nothing done."""

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from training.augment import build_augment  # noqa: E402
from training.config import Augment  # noqa: E402


def test_nothing_asked_is_nothing_done() -> None:
    assert build_augment(Augment(), 8, 8) is None


def test_shapes_stay_and_a_seed_repeats_it() -> None:
    augment = build_augment(Augment(shift_px=2, flip=True), 8, 10)
    assert augment is not None
    batch = torch.rand(16, 1, 8, 10)
    torch.manual_seed(3)
    once = augment(batch)
    torch.manual_seed(3)
    again = augment(batch)
    assert once.shape == batch.shape
    assert torch.equal(once, again)
    assert not torch.equal(once, batch)


def test_a_shift_moves_content_by_at_most_the_stated_pixels() -> None:
    augment = build_augment(Augment(shift_px=2), 9, 9)
    assert augment is not None
    batch = torch.zeros(64, 1, 9, 9)
    batch[:, :, 4, 4] = 1.0
    moved = augment(batch).flatten(1).argmax(1)
    offsets = torch.stack([moved // 9 - 4, moved % 9 - 4])
    assert offsets.abs().max() == 2
