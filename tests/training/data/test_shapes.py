"""Generated scenes: the same number is always the same scene, and picture, mask and boxes tell the same story."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from bundle.preprocess import Limits
from bundle.preprocess.image import read_image
from training.data import data_config
from training.data.shapes import LABELS, MAX_SHAPES, TEST_SEED, ShapesBoxes, ShapesMasks, draw_scene

SEEDS = range(60)


def test_a_seed_is_a_scene() -> None:
    one, same, other = (draw_scene(np.random.default_rng(seed), 48, 64) for seed in (1, 1, 2))
    assert np.array_equal(one[0], same[0])
    assert np.array_equal(one[1], same[1])
    assert one[2] == same[2]
    assert not np.array_equal(one[0], other[0])


def test_every_scene_has_shapes_and_every_shape_is_seen() -> None:
    for seed in SEEDS:
        image_HWC, mask_HW, boxes = draw_scene(np.random.default_rng(seed), 48, 64)
        assert (image_HWC.shape, image_HWC.dtype) == ((48, 64, 3), np.uint8)
        assert (mask_HW.shape, mask_HW.dtype) == ((48, 64), np.uint8)
        assert 1 <= len(boxes) <= MAX_SHAPES
        assert set(np.unique(mask_HW)) - {0} == {label + 1 for label, *_ in boxes}


def test_the_boxes_hold_all_that_is_not_ground_and_lie_inside() -> None:
    for seed in SEEDS:
        _, mask_HW, boxes = draw_scene(np.random.default_rng(seed), 48, 64)
        covered = np.zeros(mask_HW.shape, bool)
        for label, x0, y0, x1, y1 in boxes:
            assert 0 <= x0 < x1 <= 64
            assert 0 <= y0 < y1 <= 48
            inside = (slice(int(y0), int(y1)), slice(int(x0), int(x1)))
            assert (mask_HW[inside] == label + 1).any()
            covered[inside] = True
        assert not mask_HW[~covered].any()


def test_all_labels_are_about_as_common() -> None:
    counts = np.zeros(len(LABELS))
    for seed in range(300):
        for label, *_ in draw_scene(np.random.default_rng(seed), 32, 32)[2]:
            counts[label] += 1
    assert counts.min() > 0.7 * counts.mean()


@pytest.mark.parametrize("config", [ShapesMasks(num_train=4, num_test=3), ShapesBoxes(num_train=4, num_test=3)])
def test_the_data_sets_hold_the_same_scenes_with_their_own_targets(config: ShapesMasks | ShapesBoxes) -> None:
    splits = config.load()
    assert (len(splits.train), len(splits.test)) == (4, 3)
    assert splits.sha256() == config.load().sha256()
    image_HWC, mask_HW, boxes = draw_scene(np.random.default_rng((TEST_SEED, 2)), 96, 96)
    assert np.array_equal(read_image(splits.test.raw(2), Limits()), image_HWC)
    target = splits.test.target(2)
    assert np.array_equal(target, mask_HW) if isinstance(target, np.ndarray) else target == tuple(boxes)


def test_no_scene_is_in_both_splits() -> None:
    splits = ShapesMasks(num_train=30, num_test=30).load()
    assert not {splits.train.raw(i) for i in range(30)} & {splits.test.raw(i) for i in range(30)}


@pytest.mark.parametrize("config", [ShapesMasks(height_px=40), ShapesBoxes(num_test=7)])
def test_the_configuration_survives_json(config: ShapesMasks | ShapesBoxes) -> None:
    assert data_config(config.model_dump(mode="json")) == config
