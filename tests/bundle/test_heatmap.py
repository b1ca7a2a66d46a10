"""An anomaly map survives its PNG form, in the size asked for, and is drawn where it is."""

import numpy as np
import pytest

from bundle.heatmap import LEVELS, decode_map, draw_anomaly, encode_map


def test_a_map_survives_within_half_a_level() -> None:
    map_HW = np.random.default_rng(0).random((7, 9)).astype(np.float32)
    assert np.abs(decode_map(encode_map(map_HW, 7, 9)) - map_HW).max() <= 0.5 / LEVELS + 1e-6


def test_a_map_is_brought_to_the_size_asked_for() -> None:
    map_HW = np.zeros((4, 4), np.float32)
    map_HW[:, 2:] = 1
    large = decode_map(encode_map(map_HW, 20, 40))
    assert large.shape == (20, 40)
    assert (large[:, :14] == 0).all()
    assert (large[:, 26:] == 1).all()


@pytest.mark.parametrize(("value", "level"), [(np.nan, 1.0), (np.inf, 1.0), (-np.inf, 0.0), (7.0, 1.0), (-7.0, 0.0)])
def test_values_that_no_graph_should_give_stay_in_range(value: float, level: float) -> None:
    assert decode_map(encode_map(np.full((2, 2), value, np.float32), 2, 2)).tolist() == [[level] * 2] * 2


def test_bytes_that_are_no_picture_are_told() -> None:
    with pytest.raises(ValueError, match="3 bytes are not a PNG"):
        decode_map(b"abc")


def test_only_the_surroundings_of_what_is_anomalous_are_drawn_on() -> None:
    image_HWC = np.full((64, 64, 3), 100, np.uint8)
    map_HW = np.zeros((64, 64), np.float32)
    map_HW[20:30, 40:50] = 0.9
    before = image_HWC.copy()
    drawn = draw_anomaly(image_HWC, map_HW, 0.5)
    changed = (drawn != image_HWC).any(axis=2)
    assert np.array_equal(image_HWC, before)
    assert changed[18:32, 38:52].mean() > 0.8
    assert not changed[:, :30].any()
    assert (drawn[20, 40:50] > 200).all(), "the outline is white on top"


def test_a_map_below_its_threshold_has_no_outline() -> None:
    image_HWC = np.zeros((16, 16, 3), np.uint8)
    assert draw_anomaly(image_HWC, np.full((16, 16), 0.4, np.float32), 0.5).max() < 255
