"""How far two answers are apart: moved, vanished, replaced; never fooled by order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.boxes import Boxes, Selection, distance, iou, same_label_iou

LAW = settings(derandomize=True, deadline=None, max_examples=200)
RULES = Selection(score_floor=0.05, nms_iou=0.6, max_detections=20)


def boxes(*rows: tuple[float, ...]) -> Boxes:
    """Rows of (label, score, x0, y0, x1, y1)."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Boxes(table[:, 2:], table[:, 0].astype(np.int64), table[:, 1])


def row_of_boxes(count: int, shift: float = 0.0, score: float = 0.9) -> Boxes:
    """Apart from each other, one beside the next."""
    return boxes(*[(0, score - i / 100, i / count + shift, 0.2, (i + 0.8) / count + shift, 0.6) for i in range(count)])


@st.composite
def answers(draw: st.DrawFn) -> Boxes:
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    count = draw(st.integers(0, 20))
    left_top = rng.uniform(0, 0.7, (count, 2))
    size = rng.uniform(0.05, 0.3, (count, 2))
    return Boxes(
        np.concatenate([left_top, left_top + size], axis=1), rng.integers(0, 3, count), rng.uniform(0.05, 1, count)
    )


@given(answers())
@LAW
def test_an_answer_is_no_distance_from_itself(one: Boxes) -> None:
    assert distance(one, one, RULES) == (0, 0)


@given(answers(), st.randoms(use_true_random=False))
@LAW
def test_the_order_of_rows_does_not_matter(one: Boxes, random: object) -> None:
    order = np.arange(len(one))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert distance(one, one.take(order), RULES) == (0, 0)


@given(answers(), answers())
@LAW
def test_the_distance_is_the_same_from_both_sides(one: Boxes, other: Boxes) -> None:
    assert distance(one, other, RULES) == distance(other, one, RULES)


@given(answers(), st.floats(0, 0.01))
@LAW
def test_a_change_of_every_score_is_told_in_full_at_most(one: Boxes, change: float) -> None:
    score, side = distance(one, Boxes(one.boxes_xyxy, one.labels, one.scores + change), RULES)
    assert score <= change + 1e-12
    assert side == 0


def test_sides_that_moved_are_told() -> None:
    score, side = distance(row_of_boxes(5), row_of_boxes(5, shift=0.01), RULES)
    assert (score, side) == (0, pytest.approx(0.01))


def test_a_score_that_moved_is_told() -> None:
    expected, got = row_of_boxes(5), row_of_boxes(5)
    got.scores[2] += 0.03
    assert distance(expected, got, RULES) == (pytest.approx(0.03), 0)


def test_what_vanished_was_as_far_away_as_the_floor() -> None:
    sure, unsure = (0, 0.9, 0.0, 0.0, 0.2, 0.2), (0, 0.07, 0.5, 0.5, 0.9, 0.9)
    assert distance(boxes(sure, unsure), boxes(sure), RULES) == (pytest.approx(0.02), 0)
    assert distance(boxes(sure, unsure), boxes(unsure), RULES) == (pytest.approx(0.85), 0)


def test_what_fell_off_a_full_list_was_as_far_away_as_its_last() -> None:
    full = Selection(score_floor=0.05, nms_iou=0.6, max_detections=2)
    kept, fell, came = (0, 0.9, 0, 0, 0.2, 0.2), (0, 0.5, 0.5, 0.5, 0.7, 0.7), (0, 0.501, 0.8, 0.8, 1, 1)
    score, side = distance(boxes(kept, fell), boxes(kept, came), full)
    assert (score, side) == (pytest.approx(0.001), 0)


def test_another_label_is_another_thing() -> None:
    cat, dog = (0, 0.9, 0, 0, 0.2, 0.2), (1, 0.9, 0, 0, 0.2, 0.2)
    assert distance(boxes(cat), boxes(dog), RULES) == (pytest.approx(0.85), 0)


def test_one_that_won_by_a_hair_stands_for_the_other() -> None:
    expected, got = row_of_boxes(8), row_of_boxes(8)
    got.boxes_xyxy[3] += (0.01, 0, 0.01, 0)
    got.scores[3] += 1e-6
    score, side = distance(expected, got, RULES)
    assert score == pytest.approx(1e-6)
    assert side == 0


def test_more_than_a_quarter_of_such_is_no_tie() -> None:
    expected, got = row_of_boxes(8), row_of_boxes(8)
    got.boxes_xyxy[[1, 3, 5]] += (0.01, 0, 0.01, 0)
    assert distance(expected, got, RULES) == (0, pytest.approx(0.01))


def test_one_that_was_clearly_worse_does_not_stand_for_it() -> None:
    expected, got = row_of_boxes(8), row_of_boxes(8)
    got.boxes_xyxy[3] += (0.01, 0, 0.01, 0)
    got.scores[3] -= 0.3
    assert max(distance(expected, got, RULES)) == pytest.approx(0.3)


def test_nothing_against_nothing() -> None:
    assert distance(boxes(), boxes(), RULES) == (0, 0)


def test_overlap_is_only_within_a_label() -> None:
    one, other = boxes((0, 0.9, 0, 0, 2, 2), (1, 0.9, 0, 0, 2, 2)), boxes((0, 0.9, 1, 1, 3, 3))
    assert iou(one.boxes_xyxy, other.boxes_xyxy).ravel() == pytest.approx([1 / 7, 1 / 7])
    assert same_label_iou(one, other).ravel() == pytest.approx([1 / 7, 0])


def test_empty_boxes_are_equal_to_themselves() -> None:
    empty = boxes((0, 0.9, 0.5, 0.5, 0.5, 0.5), (1, 0.8, 0.7, 0.2, 0.1, 0.9))
    assert same_label_iou(empty, empty).tolist() == [[1, 0], [0, 1]]
    assert distance(empty, empty, RULES) == (0, 0)
