"""Anomaly detection in series while training: normal ones teach, and they alone set the threshold."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from bundle.preprocess import Series, SeriesSource, load_preprocess  # noqa: E402
from bundle.tasks.series_anomaly import SeriesAnomalyDecode, SeriesAnomalyOptions, SeriesAnomalyTask  # noqa: E402
from bundle.tensors import unstack  # noqa: E402
from training.architectures.dense_autoencoder import DenseAutoencoderConfig  # noqa: E402
from training.data.prepared import PreparedSplit  # noqa: E402
from training.data.series import SeriesRows  # noqa: E402
from training.deviation import threshold_of  # noqa: E402
from training.graph import Graph, SeriesStem  # noqa: E402
from training.tasks.series_anomaly import SeriesAnomalyTraining  # noqa: E402

SPEC = Series(num_steps=12)
LABELS = ("normal", "spike", "shift")
TASK = SeriesAnomalyTraining(LABELS, SPEC)


def rows(labels: list[int], seed: int = 0) -> SeriesRows:
    rng = np.random.default_rng(seed)
    values = np.sin(np.arange(12) / 2) + rng.normal(0, 0.1, (len(labels), 12))
    for row, label in zip(values, labels, strict=True):
        row[5] += 4 * (label == 1)
        row += 2 * (label == 2)
    return SeriesRows(values, np.array(labels))


def prepared(labels: list[int], seed: int = 0) -> PreparedSplit:
    return PreparedSplit(rows(labels, seed), load_preprocess(SPEC, Path()), TASK.prepare_target)


def untrained() -> Graph:
    torch.manual_seed(0)
    return Graph(SeriesStem(), DenseAutoencoderConfig.tiny().build(SPEC, 1), TASK.tail()).eval()


def answers(graph: Graph, samples: SeriesRows) -> list:
    split = PreparedSplit(samples, load_preprocess(SPEC, Path()), TASK.prepare_target)
    with torch.inference_mode():
        score, errors = graph(*split.inputs)
    meaning = SeriesAnomalyTask(SeriesAnomalyDecode())
    outputs = unstack({"anomaly_score": score.numpy(), "errors": errors.numpy()})
    return [meaning.decode(row, SeriesSource(12), SeriesAnomalyOptions()) for row in outputs]


def test_every_kind_of_anomaly_is_one_class_to_train_against() -> None:
    assert [TASK.prepare_target(i, SeriesSource(12)) for i in range(3)] == [0, 1, 1]
    assert TASK.stack_targets([0, 1]).tolist() == [0, 1]


def test_the_loss_is_the_error_of_normal_series_alone() -> None:
    deviation = torch.tensor([[1.0, 3.0], [100.0, 100.0]])
    assert float(TASK.loss(deviation, torch.tensor([0, 1]), 0.0)) == 2.0
    assert float(TASK.loss(deviation, torch.tensor([1, 1]), 0.0)) == 0.0


def test_the_threshold_is_that_of_normal_validation_series() -> None:
    graph = untrained()
    train, validation = prepared([0] * 20), prepared([0, 1, 0, 2, 0, 0], seed=1)
    graph.stem.fit(train.inputs)
    with torch.inference_mode():
        raw_scores = graph.logits(validation.inputs).mean(dim=1)[[0, 2, 4, 5]]
    assert TASK.finish(graph, train, validation) == SeriesAnomalyDecode()
    assert float(graph.tail.threshold) == pytest.approx(float(threshold_of(raw_scores)))


def test_a_score_is_the_mean_of_its_errors_before_both_are_bounded() -> None:
    tail = TASK.tail()
    tail.threshold.fill_(2.0)
    score, errors = tail(torch.tensor([[1.0, 3.0, 2.0]]))
    assert score.tolist() == [0.5]
    assert errors.tolist() == [[pytest.approx(1 / 3), pytest.approx(0.6), 0.5]]


def test_far_outliers_leave_the_answer_finite() -> None:
    with torch.inference_mode():
        score, errors = untrained()(torch.tensor([[3.4e38, -3.4e38] * 6]))
    assert torch.isfinite(score).all()
    assert torch.isfinite(errors).all()
    assert float(score[0]) > 0.9


def test_figures_tell_the_kinds_apart() -> None:
    graph, samples = untrained(), rows([0] * 10 + [1] * 5 + [2] * 5)
    figures = TASK.score(answers(graph, samples), [samples.target(i) for i in range(20)])
    assert next(iter(figures)) == TASK.metric_name
    assert {"f1", "accuracy", "precision", "recall", "auroc_spike", "auroc_shift"} < set(figures)


def test_baselines_need_no_network() -> None:
    figures = TASK.baseline(prepared([0] * 30), prepared([0] * 10 + [1] * 5 + [2] * 5, seed=1))
    assert figures == {"distance_to_mean": 1.0, "pca": 1.0}


def test_pictures_are_drawn(tmp_path: Path) -> None:
    graph, samples = untrained(), rows([0] * 6 + [1] * 3)
    TASK.draw(tmp_path, samples, answers(graph, samples))
    assert {path.name for path in tmp_path.iterdir()} == {"scores.png", "series.png"}


def test_pictures_of_samples_are_not_augmented() -> None:
    from training.config import Augment

    assert TASK.augment(Augment(flip=True)) is None
