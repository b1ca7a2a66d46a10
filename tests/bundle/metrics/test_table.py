"""Every task that is trained has one metric, and the metric's first figure is the one that export guards."""

import pytest

from bundle.errors import BadInput
from bundle.metrics import METRICS, metric_type
from bundle.tasks import TASKS


def test_metrics_are_of_known_tasks() -> None:
    assert set(METRICS) == set(TASKS) - {"sentence-embedding"}
    assert all(callable(metric_type(task)) for task in METRICS)


def test_a_task_without_a_metric_is_named() -> None:
    with pytest.raises(BadInput, match="task with a metric 'sentence-embedding' is not known; known are"):
        metric_type("sentence-embedding")


def test_every_task_that_is_trained_has_one() -> None:
    pytest.importorskip("torch", reason="training needs torch")
    from training.tasks import TASKS as TRAINED

    assert set(METRICS) == set(TRAINED)
