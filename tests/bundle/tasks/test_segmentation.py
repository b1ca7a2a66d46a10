"""Masks become areas in the source's own pixels, in the same way for every engine and on every machine."""

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic import ValidationError

from bundle.errors import BundleError
from bundle.preprocess import ImageResize, ImageSource
from bundle.rle import read_rle
from bundle.tasks.segmentation import (
    VOID,
    Segmentation,
    SegmentationDecode,
    SegmentationOptions,
    SegmentationTask,
    class_mask,
    enlarge_mask,
    read_mask_png,
)
from bundle.tensors import Array, Tensors, TensorSpec

LAW = settings(derandomize=True, deadline=None, max_examples=200)
LABELS = ("sky", "road", "tree")
PNG, RLE = SegmentationOptions(mask="png"), SegmentationOptions(mask="rle")
TASK = SegmentationTask(SegmentationDecode(labels=LABELS))


def row(mask_HW: Array, margin: float = 0.5) -> Tensors:
    return {"mask": mask_HW.astype(np.uint8), "margin": np.full(mask_HW.shape, margin, np.float32)}


def decode(mask_HW: Array, options: SegmentationOptions = PNG) -> Segmentation:
    return TASK.decode(row(mask_HW), ImageSource(*mask_HW.shape), options)


def half(right: int = 1) -> Array:
    mask_HW = np.zeros((20, 30), np.uint8)
    mask_HW[:, 15:] = right
    return mask_HW


def test_classes_are_listed_by_falling_share_with_their_values_in_the_mask() -> None:
    mask_HW = np.full((10, 10), 2, np.uint8)
    mask_HW[:3] = 0
    got = decode(mask_HW)
    assert [(area.index, area.label, area.share) for area in got.classes] == [(2, "tree", 0.7), (0, "sky", 0.3)]
    assert (got.height_px, got.width_px) == (10, 10)
    assert np.array_equal(read_mask_png(got.mask_png or b""), mask_HW)


def test_equal_shares_keep_the_order_of_the_labels() -> None:
    assert [area.label for area in decode(half()).classes] == ["sky", "road"]


def test_rle_gives_each_class_its_own_mask_and_no_png() -> None:
    got = decode(half(), RLE)
    assert got.mask_png is None
    assert all(area.rle and np.array_equal(read_rle(area.rle), half() == area.index) for area in got.classes)


@given(arrays.arrays(np.uint8, (7, 9), elements=st.integers(0, 2)), st.integers(1, 40), st.integers(1, 40))
@LAW
def test_both_forms_of_an_answer_hold_the_same_mask(mask_HW: Array, height_px: int, width_px: int) -> None:
    answers = [TASK.decode(row(mask_HW), ImageSource(height_px, width_px), options) for options in (PNG, RLE)]
    masks = [class_mask(answer) for answer in answers]
    assert masks[0].shape == (height_px, width_px)
    assert np.array_equal(masks[0], masks[1])
    assert sum(area.share for area in answers[0].classes) == pytest.approx(1)
    assert {area.index for area in answers[0].classes} == set(np.unique(masks[0]).tolist())


@given(
    arrays.arrays(np.uint8, (7, 9), elements=st.integers(0, 4)),
    arrays.arrays(np.float32, (7, 9), elements=st.floats(0, 1, width=32)),
    st.integers(1, 60),
    st.integers(1, 60),
)
@LAW
def test_no_class_appears_in_another_size_that_was_not_there(
    mask_HW: Array, margin_HW: Array, height_px: int, width_px: int
) -> None:
    enlarged = enlarge_mask(mask_HW, margin_HW, height_px, width_px)
    assert enlarged.shape == (height_px, width_px)
    assert set(np.unique(enlarged)) <= set(np.unique(mask_HW))


def test_a_mask_of_the_same_size_is_the_mask() -> None:
    mask_HW = np.random.default_rng(0).integers(0, 5, (30, 40)).astype(np.uint8)
    assert np.array_equal(enlarge_mask(mask_HW, np.zeros((30, 40), np.float32), 30, 40), mask_HW)


def test_an_enlarged_edge_is_smooth_not_stepped() -> None:
    """A slanted edge, enlarged eight times, is nearer to the true edge than whole pixels are."""

    def truth(side_px: int) -> Array:
        y, x = (np.mgrid[:side_px, :side_px] + 0.5) / side_px
        return (x + 0.4 * y) - 0.7

    small, large = truth(24), truth(192)
    smooth = enlarge_mask((small > 0).astype(np.uint8), np.abs(np.clip(small * 6, -1, 1)).astype(np.float32), 192, 192)
    stepped = cv2.resize((small > 0).astype(np.uint8), (192, 192), interpolation=cv2.INTER_NEAREST)
    wrong_smooth, wrong_stepped = np.mean(smooth != (large > 0)), np.mean(stepped != (large > 0))
    assert wrong_smooth < 0.3 * wrong_stepped


def test_a_huge_picture_gets_a_mask_of_its_own_size() -> None:
    assert class_mask(TASK.decode(row(half()), ImageSource(3000, 4000), PNG)).shape == (3000, 4000)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_a_sliver_of_a_picture_is_answered(size: tuple[int, int]) -> None:
    assert class_mask(TASK.decode(row(half()), ImageSource(*size), PNG)).shape == size


@pytest.mark.parametrize("options", [PNG, RLE])
def test_an_answer_survives_json(options: SegmentationOptions) -> None:
    got = decode(half(), options)
    assert msgspec.json.decode(msgspec.json.encode(got), type=Segmentation) == got


def test_json_holds_only_the_form_that_was_asked_for() -> None:
    png, rle = (msgspec.to_builtins(decode(half(), options)) for options in (PNG, RLE))
    assert list(png) == ["height_px", "width_px", "classes", "mask_png"]
    assert list(png["classes"][0]) == ["index", "label", "share"]
    assert list(rle) == ["height_px", "width_px", "classes"]
    assert list(rle["classes"][0]["rle"]) == ["size", "counts"]


def test_a_class_without_a_label_is_told() -> None:
    with pytest.raises(BundleError, match="class 7, and the bundle has 3 labels"):
        decode(half(7))


@pytest.mark.parametrize("options", [{"mask": "jpg"}, {"format": "pdf"}, {"masks": "png"}])
def test_options_that_mean_nothing_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, SegmentationOptions)


def test_the_graph_must_give_a_mask_and_a_margin_of_the_prepared_size() -> None:
    assert TASK.output_specs(ImageResize(height_px=18, width_px=24)) == (
        TensorSpec(name="mask", dtype="uint8", shape=("batch", 18, 24)),
        TensorSpec(name="margin", dtype="float32", shape=("batch", 18, 24)),
    )


def test_equal_outputs_do_not_differ() -> None:
    assert TASK.differences(row(half()), row(half())) == {"mask": 0, "margin": 0}


def test_a_flip_between_level_classes_costs_nothing_and_a_sure_one_half_its_margin() -> None:
    expected, got = row(half(), 0.0), row(half(2), 0.0)
    assert TASK.differences(expected, got)["mask"] == 0
    expected["margin"][:, 15:] = 0.8
    assert TASK.differences(expected, got)["mask"] == pytest.approx(0.8 / 2 * 0.5)


@given(arrays.arrays(np.float32, (3, 8, 8), elements=st.floats(0, 1, width=32)), st.data())
@LAW
def test_an_error_in_the_scores_is_never_counted_as_more_than_it_is(scores: Array, data: st.DataObject) -> None:
    noise = data.draw(arrays.arrays(np.float32, (3, 8, 8), elements=st.floats(-0.125, 0.125, width=32)))

    def outputs(values: Array) -> Tensors:
        ranked = np.sort(values, axis=0)
        return {"mask": values.argmax(axis=0).astype(np.uint8), "margin": ranked[-1] - ranked[-2]}

    found = TASK.differences(outputs(scores), outputs(scores + noise))
    worst = float(np.abs(noise).max()) + 1e-6
    assert found["mask"] <= worst
    assert found["margin"] <= 2 * worst


@pytest.mark.parametrize("margin", [np.nan, np.inf])
def test_a_margin_that_is_no_number_is_infinitely_far(margin: float) -> None:
    got = row(half())
    got["margin"][3, 4] = margin
    assert TASK.differences(row(half()), got)["margin"] == np.inf


def test_outputs_of_another_size_are_infinitely_far() -> None:
    assert set(TASK.differences(row(half()), row(half()[:5])).values()) == {np.inf}


def test_answers_that_differ_in_a_few_pixels_agree() -> None:
    mask_HW = half()
    mask_HW[:10, 15] = 0  # 10 of 600
    assert TASK.agree(decode(half()), decode(mask_HW), 0.0) is None


def test_answers_that_differ_in_many_pixels_are_told() -> None:
    mask_HW = half()
    mask_HW[:, 15:20] = 0
    assert TASK.agree(decode(half()), decode(mask_HW), 0.0) == "16.67% of the pixels differ; at most 3% may"


def test_a_small_class_that_is_gone_is_told_though_nearly_all_pixels_are_the_same() -> None:
    mask_HW = half()
    mask_HW[:4, :4] = 2  # 16 of 600
    assert "'tree' covers 2.7%" in str(TASK.agree(decode(mask_HW), decode(half()), 0.0))


def test_an_answer_in_another_size_is_told() -> None:
    assert TASK.agree(decode(half()), decode(half()[:10]), 0.0) == "the mask is 30 x 10 pixels, expected 30 x 20"


def test_a_renamed_label_is_told() -> None:
    renamed = SegmentationTask(SegmentationDecode(labels=("sky", "street", "tree")))
    got = renamed.decode(row(half()), ImageSource(20, 30), PNG)
    differs = renamed.agree(decode(half()), got, 0.1)
    assert differs == "class 1 is 'street'; it was 'road' when the answer was recorded"


def test_the_mean_share_of_each_class_is_in_the_order_of_the_labels() -> None:
    only_road = np.ones((4, 4), np.uint8)
    assert TASK.summarise([decode(half()), decode(only_road)])["class_share"] == [0.25, 0.75, 0.0]


@pytest.mark.parametrize("labels", [["one"], ["a", ""], [str(i) for i in range(VOID + 1)]])
def test_decode_parameters_that_mean_nothing_are_refused(labels: list[str]) -> None:
    with pytest.raises(ValidationError):
        SegmentationDecode.model_validate({"labels": labels})
