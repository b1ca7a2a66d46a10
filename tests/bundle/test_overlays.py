"""Overlays: colours that can be told apart, drawings on a copy, nothing that falls over at odd sizes."""

import cv2
import numpy as np
import pytest

from bundle.overlays import colours, draw_boxes, draw_legend, draw_map, draw_mask, label_colours
from tests.builders import picture


def test_colours_can_be_told_apart() -> None:
    palette = np.array(colours(20), np.float32)[None] / 255
    lab = cv2.cvtColor(palette, cv2.COLOR_RGB2Lab)[0]
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1000 * np.eye(20)
    assert distances.min() > 20  # about 2 is the smallest difference that people see side by side


def test_a_colour_does_not_depend_on_how_many_there_are() -> None:
    assert colours(3) == colours(12)[:3] == colours(500)[:3]
    assert colours(0) == ()


def test_a_mask_tints_its_classes_and_leaves_the_picture_as_it_was() -> None:
    image_HWC = picture(height_px=20, width_px=30)
    before = image_HWC.copy()
    mask_HW = np.zeros((20, 30), np.uint8)
    mask_HW[:, 15:] = 1
    drawn = draw_mask(image_HWC, mask_HW, [(255, 0, 0), (0, 0, 255)])
    assert np.array_equal(image_HWC, before)
    assert (drawn.shape, drawn.dtype) == (image_HWC.shape, np.uint8)
    assert (drawn[:, :15, 0] > drawn[:, :15, 2]).mean() > 0.9
    assert (drawn[:, 15:, 2] > drawn[:, 15:, 0]).mean() > 0.9


def test_a_class_without_a_colour_stays_bare() -> None:
    image_HWC = picture(height_px=20, width_px=30)
    assert np.array_equal(draw_mask(image_HWC, np.full((20, 30), 255, np.uint8), colours(3)), image_HWC)


def test_boxes_are_drawn_where_they_are() -> None:
    image_HWC = np.zeros((60, 80, 3), np.uint8)
    drawn = draw_boxes(image_HWC, np.array([[10.0, 30, 40, 50]]), ["cat"], palette={"cat": (0, 255, 0)})
    assert drawn[30, 11].tolist() == drawn[49, 39].tolist() == [0, 255, 0]
    assert drawn[40, 25].tolist() == [0, 0, 0]
    assert not image_HWC.any()


@pytest.mark.parametrize("box", [[0, 0, 80, 60], [-30, -30, 200, 200], [79, 59, 80, 60], [5, 5, 5, 5]])
def test_boxes_at_and_beyond_the_border_are_drawn(box: list[float]) -> None:
    image_HWC = picture(height_px=60, width_px=80)
    drawn = draw_boxes(image_HWC, np.array([box], np.float64), ["고양이 é"], [0.5])
    assert drawn.shape == image_HWC.shape


def test_no_boxes_leave_the_picture_as_it_is() -> None:
    image_HWC = picture(height_px=60, width_px=80)
    assert np.array_equal(draw_boxes(image_HWC, np.zeros((0, 4)), []), image_HWC)


def test_a_label_keeps_its_colour_from_picture_to_picture() -> None:
    assert label_colours(["red cell", "platelet"])["platelet"] == label_colours(["platelet"])["platelet"]
    many = [f"label {i}" for i in range(15)]
    assert len(set(label_colours(many).values())) == 15


def test_a_heat_map_shows_where_it_is_high_and_leaves_the_rest_bare() -> None:
    image_HWC = picture(height_px=60, width_px=80)
    map_HW = np.zeros((6, 8), np.float32)
    map_HW[:, 4:] = 1.0
    drawn = draw_map(image_HWC, map_HW)
    assert np.array_equal(drawn[:, :30], image_HWC[:, :30])
    assert (drawn[:, 50:] != image_HWC[:, 50:]).any(axis=-1).mean() > 0.9


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 2.0])
def test_a_heat_map_of_any_values_is_drawn(value: float) -> None:
    image_HWC = picture(height_px=6, width_px=8)
    assert draw_map(image_HWC, np.full((3, 3), value, np.float32)).dtype == np.uint8


@pytest.mark.parametrize("width_px", [1, 20, 100, 2000])
def test_a_legend_is_as_wide_as_it_is_told(width_px: int) -> None:
    captions = ["sky", "a rather long name of a class", "도로"] * 4
    strip = draw_legend(width_px, captions, colours(12), 12)
    assert strip.shape[1:] == (width_px, 3)
    assert strip.dtype == np.uint8
