"""Figures of verdicts: worked examples, and the same as scikit-learn's."""

import math

import numpy as np
import pytest

from bundle.metrics.verdicts import Verdicts, auroc, auroc_by_kind, verdict_figures
from bundle.tasks.series_anomaly import SeriesAnomaly


def test_figures_put_the_area_first_and_count_the_anomalous_class() -> None:
    figures = verdict_figures([0.9, 0.6, 0.2, 0.1], [True, True, False, False], [True, False, True, False])
    assert next(iter(figures)) == "auroc"
    assert figures == {"auroc": 0.75, "f1": 0.5, "accuracy": 0.5, "precision": 0.5, "recall": 0.5}


def test_no_positive_verdict_is_no_error() -> None:
    assert verdict_figures([0.1, 0.2], [False, False], [True, False])["precision"] == 0.0


def test_every_kind_is_set_against_all_normal_ones() -> None:
    kinds = ["good", "good", "crack", "hole"]
    assert auroc_by_kind([0.1, 0.5, 0.9, 0.3], kinds, "good") == {"auroc_crack": 1.0, "auroc_hole": 0.5}


def test_the_area_and_the_rest_are_what_scikit_learn_gives() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="the second opinion is not installed")
    rng = np.random.default_rng(0)
    scores = np.round(rng.random(400), 2)  # with ties
    truth, told = rng.random(400) < 0.3, scores > 0.6
    figures = verdict_figures(scores, told, truth)
    assert figures["auroc"] == pytest.approx(metrics.roc_auc_score(truth, scores), abs=1e-12)
    assert figures["f1"] == pytest.approx(metrics.f1_score(truth, told), abs=1e-12)
    assert figures["precision"] == pytest.approx(metrics.precision_score(truth, told), abs=1e-12)
    assert figures["recall"] == pytest.approx(metrics.recall_score(truth, told), abs=1e-12)


def test_without_a_pair_there_is_no_area() -> None:
    assert math.isnan(auroc(np.zeros(0), np.ones(3)))
    assert math.isnan(verdict_figures([0.1, 0.2], [False, True], [False, False])["auroc"])


def test_how_wrong_one_is_is_how_far_it_lies_on_the_wrong_side() -> None:
    verdicts = Verdicts("normal")
    assert verdicts.add(SeriesAnomaly(0.9, 0.5, True, ()), "odd") == 0.0
    assert verdicts.add(SeriesAnomaly(0.9, 0.5, True, ()), "normal") == pytest.approx(0.4)
    assert verdicts.add(SeriesAnomaly(0.2, 0.5, False, ()), "odd") == pytest.approx(0.3)
    matrix, kinds = verdicts.tables()
    assert matrix.rows == (("normal", 0, 1), ("anomalous", 1, 1))
    assert [row[0] for row in kinds.rows] == ["normal", "odd"]
    assert kinds.rows[1] == ("odd", pytest.approx(0.25), 0.5, pytest.approx(0.55), 2)
