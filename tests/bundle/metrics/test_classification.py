"""Accuracy and confusion: counted one by one."""

import math

import numpy as np
import pytest

from bundle.metrics.classification import MAX_MATRIX_LABELS, ClassificationMetric
from bundle.tasks.classification import Classification

LABELS = ("cat", "dog", "owl")


def answer(label: str, score: float = 0.9) -> Classification:
    return Classification(label, score, ())


def test_accuracy_is_the_share_of_right_labels() -> None:
    metric = ClassificationMetric(LABELS)
    wrong = [metric.add(answer(label), truth) for label, truth in (("cat", 0), ("dog", 0), ("owl", 2), ("owl", 1))]
    assert metric.figures() == {"accuracy": 0.5}
    assert wrong == [0.0, 0.9, 0.0, 0.9]


def test_of_nothing_no_figure_is_known() -> None:
    assert math.isnan(ClassificationMetric(LABELS).figures()["accuracy"])


def test_who_is_taken_for_whom() -> None:
    metric = ClassificationMetric(LABELS)
    for label, truth in (("cat", 0), ("dog", 0), ("dog", 0), ("owl", 2)):
        metric.add(answer(label), truth)
    matrix, by_label = metric.tables()
    assert matrix.is_matrix
    assert matrix.rows == (("cat", 1, 2, 0), ("dog", 0, 0, 0), ("owl", 0, 0, 1))
    assert by_label.rows[0] == ("cat", 1.0, pytest.approx(1 / 3), 0.5, 3, 1)
    assert by_label.rows[1] == ("dog", 0.0, 0.0, 0.0, 0, 2)


def test_of_many_labels_the_pairs_that_are_confused_most_are_told() -> None:
    labels = tuple(f"label {i}" for i in range(MAX_MATRIX_LABELS + 1))
    metric = ClassificationMetric(labels)
    for truth, label in ((0, 1), (0, 1), (3, 2), (5, 5)):
        metric.add(answer(labels[label]), truth)
    pairs, _ = metric.tables()
    assert pairs.rows == (("label 0", "label 1", 2), ("label 3", "label 2", 1))


def test_accuracy_is_what_scikit_learn_gives() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="the second opinion is not installed")
    rng = np.random.default_rng(0)
    truth, told = rng.integers(0, 3, 300), rng.integers(0, 3, 300)
    metric = ClassificationMetric(LABELS)
    for one, label in zip(truth.tolist(), told.tolist(), strict=True):
        metric.add(answer(LABELS[label]), one)
    assert metric.figures()["accuracy"] == metrics.accuracy_score(truth, told)
    assert (metric.counts == metrics.confusion_matrix(truth, told)).all()
