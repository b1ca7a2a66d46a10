"""Boxes: what is shown is matched as COCO does it, and the figures are COCO's."""

import numpy as np
import pytest

from bundle.metrics.average_precision import verdicts
from bundle.metrics.detection import DetectionMetric, boxes_of, matched, truth_of
from bundle.tasks.detection import DetectedObject, Detection

LABELS = ("cat", "dog")
CAT, DOG = (0, 10.0, 10.0, 30.0, 30.0), (1, 50.0, 50.0, 80.0, 90.0)


def answer(*found: tuple[tuple[int, float, float, float, float], float]) -> Detection:
    return Detection(tuple(DetectedObject(box[1:], LABELS[box[0]], score) for box, score in found))


def test_the_right_boxes_are_right() -> None:
    pytest.importorskip("pycocotools", reason="COCO's own code makes the figures")
    metric = DetectionMetric(LABELS)
    assert metric.add(answer((CAT, 0.9), (DOG, 0.8)), [CAT, DOG]) == 0.0
    figures = metric.figures()
    assert list(figures) == ["map", "map50", "ap50_cat", "ap50_dog"]
    assert all(value == pytest.approx(1.0) for value in figures.values())


def test_what_is_not_shown_does_not_count_in_what_is_wrong() -> None:
    metric = DetectionMetric(LABELS, threshold=0.5)
    assert metric.add(answer((CAT, 0.9), (DOG, 0.3)), [CAT]) == 0.0
    assert metric.add(answer((CAT, 0.9)), [CAT, DOG]) == pytest.approx(1 / 3)
    assert metric.add(answer(), []) == 0.0
    assert metric.add(answer((DOG, 0.9)), [CAT]) == 1.0
    (table,) = metric.tables()
    assert table.rows == (("cat", 1.0, pytest.approx(2 / 3), 0.8, 3, 2), ("dog", 0.0, 0.0, 0.0, 1, 1))


def test_boxes_are_matched_as_coco_matches_them() -> None:
    pytest.importorskip("pycocotools", reason="the second opinion is not installed")
    rng = np.random.default_rng(0)
    for _ in range(30):
        corners = rng.integers(0, 40, (12, 2))
        rows = [(int(rng.integers(2)), float(x), float(y), float(x + 20), float(y + 20)) for x, y in corners]
        scores = rng.permutation(8) / 10 + 0.1
        truth, found = truth_of(rows[:4]), boxes_of(answer(*zip(rows[4:], scores.tolist(), strict=True)), LABELS)
        judged = verdicts([truth], [found], 2)
        expected = dict(zip(judged.scores.tolist(), judged.right.tolist(), strict=True))
        assert dict(zip(found.scores.tolist(), matched(truth, found).tolist(), strict=True)) == expected
