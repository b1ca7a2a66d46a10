"""Overlap of areas: worked examples on masks of a few pixels."""

import math

import numpy as np
import pytest

from bundle.errors import BadInput
from bundle.metrics.segmentation import SegmentationMetric
from bundle.preprocess import ImageSource
from bundle.tasks.segmentation import VOID, Segmentation, SegmentationDecode, SegmentationOptions, SegmentationTask
from bundle.tensors import Array

LABELS = ("ground", "cat", "dog")
TRUTH = np.array([[0, 0, 1, 1]], np.uint8)


def answer(mask_HW: Array) -> Segmentation:
    outputs = {"mask": mask_HW, "margin": np.ones(mask_HW.shape, np.float32)}
    task = SegmentationTask(SegmentationDecode(labels=LABELS))
    return task.decode(outputs, ImageSource(*mask_HW.shape), SegmentationOptions())


def test_the_right_mask_is_right() -> None:
    metric = SegmentationMetric(LABELS)
    assert metric.add(answer(TRUTH), TRUTH) == 0.0
    assert metric.figures() == {"miou": 1.0, "pixel_accuracy": 1.0, "iou_ground": 1.0, "iou_cat": 1.0}


def test_half_of_an_area_is_half_an_overlap() -> None:
    metric = SegmentationMetric(LABELS)
    wrong = metric.add(answer(np.array([[0, 0, 0, 1]], np.uint8)), TRUTH)
    figures = metric.figures()
    assert (figures["iou_ground"], figures["iou_cat"]) == (pytest.approx(2 / 3), 0.5)
    assert figures["miou"] == pytest.approx(7 / 12)
    assert wrong == pytest.approx(5 / 12)
    assert figures["pixel_accuracy"] == 0.75
    by_class, matrix = metric.tables()
    assert by_class.rows[2][:2] == ("dog", None)
    assert matrix.rows[1] == ("cat", 1, 1, 0)


def test_void_is_left_out() -> None:
    metric = SegmentationMetric(LABELS)
    truth = np.array([[0, 0, VOID, VOID]], np.uint8)
    assert metric.add(answer(TRUTH), truth) == 0.0
    assert metric.figures()["pixel_accuracy"] == 1.0


def test_of_void_alone_nothing_is_known() -> None:
    metric = SegmentationMetric(LABELS)
    assert metric.add(answer(TRUTH), np.full((1, 4), VOID, np.uint8)) == 0.0
    assert math.isnan(metric.figures()["miou"])


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(BadInput, match="its mask is 2 x 1 pixels, the picture 4 x 1"):
        SegmentationMetric(LABELS).add(answer(TRUTH), TRUTH[:, :2])
