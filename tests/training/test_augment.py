"""Augmentation: shapes stay, a seed repeats it, nothing asked is nothing done, targets move with the picture."""

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from training.augment import build_augment  # noqa: E402
from training.config import Augment  # noqa: E402


def test_nothing_asked_is_nothing_done() -> None:
    assert build_augment(Augment(), 8, 8) is None


def test_shapes_stay_and_a_seed_repeats_it() -> None:
    augment = build_augment(Augment(shift_px=2, flip=True), 8, 10)
    assert augment is not None
    batch, labels = torch.rand(16, 1, 8, 10), torch.arange(16)
    torch.manual_seed(3)
    once, _ = augment(batch, labels)
    torch.manual_seed(3)
    again, _ = augment(batch, labels)
    assert once.shape == batch.shape
    assert torch.equal(once, again)
    assert not torch.equal(once, batch)


def test_a_shift_moves_content_by_at_most_the_stated_pixels() -> None:
    augment = build_augment(Augment(shift_px=2), 9, 9)
    assert augment is not None
    batch = torch.zeros(64, 1, 9, 9)
    batch[:, :, 4, 4] = 1.0
    moved = augment(batch, torch.zeros(64))[0].flatten(1).argmax(1)
    offsets = torch.stack([moved // 9 - 4, moved % 9 - 4])
    assert offsets.abs().max() == 2


def test_a_shift_by_whole_pixels_keeps_a_picture_as_sharp_as_it_is() -> None:
    augment = build_augment(Augment(shift_px=2), 9, 9)
    assert augment is not None
    batch = torch.zeros(64, 1, 9, 9)
    batch[:, :, 4, 4] = 1.0
    moved, _ = augment(batch, torch.zeros(64))
    assert torch.allclose(moved.amax((1, 2, 3)), torch.ones(64), atol=1e-4)


def test_labels_stay_as_they_are() -> None:
    augment = build_augment(Augment(shift_px=2, flip=True), 8, 8, "label")
    assert augment is not None
    labels = torch.arange(16)
    _, same = augment(torch.rand(16, 1, 8, 8), labels)
    assert torch.equal(same, labels)


CHANGE = Augment(shift_px=2, flip=True, flip_vertical=True, rotate_deg=20, scale=(0.8, 1.25))


def test_a_mask_moves_with_its_picture_and_what_comes_in_is_void() -> None:
    augment = build_augment(CHANGE, 16, 24, "mask")
    assert augment is not None
    masks = torch.ones(32, 16, 24, dtype=torch.int64)
    masks[:, 4:10, 6:14] = 2
    torch.manual_seed(0)
    pictures, moved = augment(masks[:, None].float(), masks)
    assert moved.dtype == torch.int64
    assert set(moved.unique().tolist()) == {-1, 1, 2}
    # Linear and nearest interpolation of the same map: they part at edges only.
    agrees = (pictures[:, 0].round() == moved.clamp_min(0)).float().mean()
    assert agrees > 0.9
    assert not torch.equal(moved, masks)


def test_a_box_moves_with_its_picture_and_padding_stays_padding() -> None:
    augment = build_augment(CHANGE, 32, 32, "boxes")
    assert augment is not None
    batch = torch.zeros(32, 1, 32, 32)
    batch[:, :, 10:22, 8:20] = 1.0
    boxes = torch.tensor([[1.0, 8 / 32, 10 / 32, 20 / 32, 22 / 32], [-1.0, 0, 0, 0, 0]]).repeat(32, 1, 1)
    torch.manual_seed(0)
    pictures, moved = augment(batch, boxes)
    assert (moved[:, 0, 0] == 1).all()
    assert (moved[:, 1, 0] == -1).all()
    assert not torch.allclose(moved, boxes)
    for picture, (x0, y0, x1, y1) in zip(pictures[:, 0], (moved[:, 0, 1:] * 32).tolist(), strict=True):
        rows, columns = torch.nonzero(picture > 0.5, as_tuple=True)
        seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert max(abs(float(a) - b) for a, b in zip(seen, (x0, y0, x1, y1), strict=True)) < 2.5


def test_a_box_that_leaves_the_picture_is_dropped() -> None:
    augment = build_augment(Augment(shift_px=8), 32, 32, "boxes")
    assert augment is not None
    corner = torch.tensor([[0.0, 0.0, 0.0, 4 / 32, 4 / 32]]).repeat(64, 1, 1)
    torch.manual_seed(0)
    _, moved = augment(torch.zeros(64, 1, 32, 32), corner)
    labels = moved[:, 0, 0]
    assert {-1.0, 0.0} == set(labels.tolist())
    assert (moved[labels < 0, 0, 1:] == 0).all()
    assert moved[..., 1:].min() >= 0
    assert moved[..., 1:].max() <= 1
