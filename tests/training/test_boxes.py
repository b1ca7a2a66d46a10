"""Overlap of boxes: the laws, and worked examples."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="boxes are torch tensors here")

from bundle.boxes import iou as iou_of_arrays  # noqa: E402
from training.boxes import area, generalised_iou, iou  # noqa: E402

LAW = settings(derandomize=True, deadline=None, max_examples=200)
side = st.floats(0, 1, width=32)
sides = st.tuples(side, side)


@st.composite
def boxes(draw: st.DrawFn) -> torch.Tensor:
    (x0, x1), (y0, y1) = sorted(draw(sides)), sorted(draw(sides))
    return torch.tensor([x0, y0, x1, y1])


@given(boxes(), boxes())
@LAW
def test_overlap_is_a_share_the_same_from_both_sides(one: torch.Tensor, other: torch.Tensor) -> None:
    assert 0 <= float(iou(one, other)) <= 1 + 1e-5
    assert float(iou(one, other)) == float(iou(other, one))
    assert -1 - 1e-5 <= float(generalised_iou(one, other)) <= float(iou(one, other)) + 1e-5


@given(boxes(), boxes())
@LAW
def test_tensors_and_arrays_say_the_same(one: torch.Tensor, other: torch.Tensor) -> None:
    if float(area(one)) > 1e-4 and float(area(other)) > 1e-4:
        expected = iou_of_arrays(one[None].numpy(), other[None].numpy())
        assert float(iou(one, other)) == pytest.approx(float(expected[0, 0]), abs=1e-4)


@given(boxes())
@LAW
def test_a_box_overlaps_itself_wholly(box: torch.Tensor) -> None:
    expected = 1 if float(area(box)) > 1e-6 else float(iou(box, box))
    assert float(iou(box, box)) == pytest.approx(expected, abs=1e-3)


def test_a_worked_example() -> None:
    one, other = torch.tensor([0.0, 0, 2, 2]), torch.tensor([1.0, 1, 3, 3])
    assert float(iou(one, other)) == pytest.approx(1 / 7)
    assert float(generalised_iou(one, other)) == pytest.approx(1 / 7 - 2 / 9)


def test_boxes_that_miss_each_other_are_worse_the_farther_they_are() -> None:
    here = torch.tensor([0.0, 0, 1, 1])
    near, far = torch.tensor([2.0, 0, 3, 1]), torch.tensor([8.0, 0, 9, 1])
    assert float(iou(here, near)) == float(iou(here, far)) == 0
    assert -1 < float(generalised_iou(here, far)) < float(generalised_iou(here, near)) < 0


def test_empty_boxes_overlap_nothing_and_give_no_nan() -> None:
    empty = torch.zeros(4)
    assert float(iou(empty, empty)) == 0
    assert torch.isfinite(generalised_iou(empty, empty))


def test_boxes_broadcast() -> None:
    assert iou(torch.rand(3, 1, 4), torch.rand(1, 5, 4)).shape == (3, 5)
