"""How far two answers are apart: 0 between equal ones, and the more the further."""

import numpy as np
import pytest

from bundle.preprocess import ImageSource
from bundle.tasks import TASKS
from bundle.tasks.classification import Classification, LabelScore
from bundle.tasks.detection import DetectedObject, Detection
from bundle.tasks.segmentation import Segmentation, SegmentationDecode, SegmentationOptions, SegmentationTask
from bundle.tasks.sentence_embedding import SentenceEmbedding
from bundle.tasks.series_anomaly import SeriesAnomaly
from bundle.tensors import Array
from scoring.apart import MEASURED, apart

CAT, DOG = (10.0, 10.0, 30.0, 30.0), (50.0, 50.0, 80.0, 90.0)


def scores(cat: float, dog: float) -> Classification:
    return Classification("cat", cat, (LabelScore("cat", cat), LabelScore("dog", dog)))


def boxes(*found: tuple[str, tuple[float, float, float, float], float]) -> Detection:
    return Detection(tuple(DetectedObject(box, label, score) for label, box, score in found))


def mask(mask_HW: Array) -> Segmentation:
    outputs = {"mask": mask_HW, "margin": np.ones(mask_HW.shape, np.float32)}
    task = SegmentationTask(SegmentationDecode(labels=("a", "b")))
    return task.decode(outputs, ImageSource(*mask_HW.shape), SegmentationOptions())


def test_every_task_has_a_measure() -> None:
    assert set(MEASURED) == set(TASKS)


def test_scores() -> None:
    assert apart("image-classification", scores(0.9, 0.1), scores(0.9, 0.1), 0.0) == 0.0
    assert apart("image-classification", scores(0.9, 0.1), scores(0.6, 0.4), 0.0) == pytest.approx(0.3)


def test_pixels() -> None:
    one, other = np.zeros((2, 4), np.uint8), np.zeros((2, 4), np.uint8)
    other[0, :2] = 1
    assert apart("image-segmentation", mask(one), mask(other), 0.0) == 0.25
    assert apart("image-segmentation", mask(one), mask(np.zeros((4, 2), np.uint8)), 0.0) == 1.0


def test_boxes_that_are_shown() -> None:
    one = boxes(("cat", CAT, 0.9), ("dog", DOG, 0.3))
    assert apart("object-detection", one, boxes(("cat", CAT, 0.8)), 0.5) == 0.0
    assert apart("object-detection", one, boxes(("cat", CAT, 0.8)), 0.2) == pytest.approx(1 / 3)
    assert apart("object-detection", one, boxes(("dog", CAT, 0.8)), 0.5) == 1.0
    assert apart("object-detection", boxes(), boxes(), 0.5) == 0.0


def test_verdicts_and_vectors() -> None:
    one, other = SeriesAnomaly(0.4, 0.5, False, ()), SeriesAnomaly(0.7, 0.5, True, ())
    assert apart("series-anomaly-detection", one, other, 0.0) == pytest.approx(0.3)
    ahead, aside = SentenceEmbedding((1.0, 0.0), 3, False), SentenceEmbedding((0.0, 1.0), 3, False)
    assert apart("sentence-embedding", ahead, aside, 0.0) == pytest.approx(1.0)
