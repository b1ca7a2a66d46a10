"""Anomaly figures: pixels count by level and by kind, and only where somebody drew the defect."""

import math

import numpy as np
import pytest

from bundle.heatmap import encode_map
from bundle.metrics.anomaly import GOOD, AnomalyMetric, Marked, auroc_of_counts
from bundle.tasks.anomaly import Anomaly, AnomalyMap
from bundle.tensors import Array

MASK = np.zeros((4, 6), bool)
MASK[1:3, 2:4] = True


def answer(score: float, map_HW: Array) -> Anomaly:
    return Anomaly(score, 0.5, score >= 0.5, AnomalyMap(encode_map(map_HW, *map_HW.shape), 0.5, 0.0))


def test_the_area_under_counted_pixels_is_the_usual_one() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="the second opinion is not installed")
    rng = np.random.default_rng(0)
    levels, truth = rng.integers(0, 256, 500), rng.integers(0, 2, 500)
    counts = np.stack([np.bincount(levels[truth == side], minlength=256) for side in (0, 1)])
    assert auroc_of_counts(counts) == pytest.approx(metrics.roc_auc_score(truth, levels))


def test_a_map_that_is_the_mask_is_perfect() -> None:
    metric = AnomalyMetric()
    assert metric.add(answer(0.2, np.zeros((4, 6))), Marked(GOOD)) == 0.0
    assert metric.add(answer(0.8, MASK.astype(np.float32)), Marked("hole", MASK)) == 0.0
    assert metric.figures() == {
        "auroc": 1.0, "f1": 1.0, "accuracy": 1.0, "precision": 1.0, "recall": 1.0,
        "pixel_auroc": 1.0, "pixel_auroc_hole": 1.0, "auroc_hole": 1.0,
    }  # fmt: skip


def test_a_defect_without_a_mask_counts_in_no_figure_of_pixels() -> None:
    metric = AnomalyMetric()
    metric.add(answer(0.2, np.zeros((4, 6))), Marked(GOOD))
    metric.add(answer(0.8, np.ones((4, 6))), Marked("hole"))
    assert not any(name.startswith("pixel") for name in metric.figures())


def test_of_good_ones_alone_no_area_is_known() -> None:
    metric = AnomalyMetric()
    metric.add(answer(0.2, np.zeros((4, 6))), Marked(GOOD))
    assert math.isnan(metric.figures()["auroc"])
    assert metric.figures()["accuracy"] == 1.0
