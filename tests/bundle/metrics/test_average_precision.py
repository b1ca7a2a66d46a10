"""COCO's figures: worked examples."""

import numpy as np
import pytest

pytest.importorskip("pycocotools", reason="COCO's own code makes the figures")

from bundle.boxes import Boxes
from bundle.metrics.average_precision import (
    Truth,
    Verdicts,
    average_precision,
    best_f1_threshold,
    verdicts,
)

BOX, OTHER = [10, 10, 30, 30], [50, 50, 80, 90]


def truth(*boxes: list[float], labels: list[int] | None = None) -> Truth:
    return Truth(np.array(boxes, float).reshape(-1, 4), np.array(labels or [0] * len(boxes)))


def found(*boxes: list[float], scores: list[float], labels: list[int] | None = None) -> Boxes:
    return Boxes(np.array(boxes, float).reshape(-1, 4), np.array(labels or [0] * len(boxes)), np.array(scores))


def test_what_is_all_right_is_one() -> None:
    got = average_precision(
        [truth(BOX, OTHER, labels=[0, 1])], [found(BOX, OTHER, scores=[0.9, 0.8], labels=[0, 1])], 2
    )
    assert (got.map, got.map50) == (pytest.approx(1), pytest.approx(1))
    assert got.by_label50.tolist() == pytest.approx([1, 1])


def test_nothing_found_is_nothing() -> None:
    assert average_precision([truth(BOX)], [found(scores=[])], 1).map == 0


def test_an_overlap_of_four_fifths_counts_up_to_four_fifths() -> None:
    shifted = [10, 10, 30, 26]  # 320 of 400
    got = average_precision([truth(BOX)], [found(shifted, scores=[0.9])], 1)
    assert (got.map50, got.map) == (pytest.approx(1), pytest.approx(0.7))  # 0.50 .. 0.80 of 0.50 .. 0.95


def test_a_wrong_box_before_the_right_one_halves_the_precision() -> None:
    got = average_precision([truth(BOX)], [found(OTHER, BOX, scores=[0.9, 0.8])], 1)
    assert got.map50 == pytest.approx(0.5)


def test_the_scale_of_the_boxes_does_not_matter() -> None:
    pictures = [truth(BOX, OTHER)], [found([11, 10, 31, 30], OTHER, scores=[0.9, 0.8])]
    small = (
        [Truth(one.boxes_xyxy / 1000, one.labels) for one in pictures[0]],
        [Boxes(one.boxes_xyxy / 1000, one.labels, one.scores) for one in pictures[1]],
    )
    assert average_precision(*pictures, 1).map == pytest.approx(average_precision(*small, 1).map)


def test_a_label_that_never_occurs_is_left_out_of_the_mean() -> None:
    got = average_precision([truth(BOX)], [found(BOX, scores=[0.9])], 3)
    assert got.map == pytest.approx(1)
    assert np.isnan(got.by_label50).tolist() == [False, True, True]


def test_pictures_without_boxes_only_count_what_was_found_there() -> None:
    right = found(BOX, scores=[0.5])
    clean = average_precision([truth(BOX), truth()], [right, found(scores=[])], 1)
    dirty = average_precision([truth(BOX), truth()], [right, found(OTHER, scores=[0.9])], 1)
    assert (clean.map50, dirty.map50) == (pytest.approx(1), pytest.approx(0.5))


def test_every_true_box_is_found_once() -> None:
    judged = verdicts([truth(BOX)], [found(BOX, BOX, OTHER, scores=[0.9, 0.8, 0.7])], 1)
    assert dict(zip(judged.scores, judged.right, strict=True)) == {0.9: True, 0.8: False, 0.7: False}
    assert judged.num_truths == 1


@pytest.mark.parametrize(
    ("scores", "right", "expected"),
    [
        ([0.9, 0.8, 0.3, 0.2], [True, True, False, True], 0.1),  # 2 * 3 / (4 + 3) beats 2 * 2 / (2 + 3)
        ([0.9, 0.8, 0.3, 0.2], [True, True, False, False], 0.55),
        ([], [], 0.5),
        ([0.9], [False], 0.5),
    ],
)
def test_the_default_threshold_balances_precision_and_recall(
    scores: list[float], right: list[bool], expected: float
) -> None:
    assert best_f1_threshold(Verdicts(np.array(scores), np.array(right, bool), 3)) == pytest.approx(expected)


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    average_precision([truth(BOX)], [found(BOX, scores=[0.9])], 1)
    assert capsys.readouterr().out == ""
