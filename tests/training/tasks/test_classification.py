"""Classification while training: the metric counts what users count, baselines are honest."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from bundle.preprocess import ImageResize, ImageSource, load_preprocess  # noqa: E402
from bundle.tasks.classification import Classification, ClassificationTask  # noqa: E402
from training.data.prepared import PreparedSplit  # noqa: E402
from training.data.samples import ArrayImages  # noqa: E402
from training.tasks.classification import ClassificationTraining  # noqa: E402

PREPROCESS = ImageResize(height_px=4, width_px=4, color="grey")
TASK = ClassificationTraining(("dark", "light"), PREPROCESS)
SOURCE = ImageSource(4, 4)


def meaning_of(task: ClassificationTraining) -> ClassificationTask:
    """What export decodes with; classification learns nothing for it from the data."""
    return ClassificationTask(task.finish(None, split(1, 0), split(1, 0)))  # type: ignore[arg-type]


def answers_of(task: ClassificationTraining, scores: np.ndarray) -> list[Classification]:
    meaning = meaning_of(task)
    return [meaning.decode({"scores": row}, SOURCE, meaning.options_type()) for row in scores]


def split(num_samples: int, seed: int) -> PreparedSplit:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, num_samples)
    images = (rng.integers(0, 100, (num_samples, 4, 4)) + targets[:, None, None] * 150).astype(np.uint8)
    samples = ArrayImages(images, targets)
    return PreparedSplit(samples, load_preprocess(PREPROCESS, Path()), TASK.prepare_target)


def test_the_metric_of_tensors_is_the_score_of_answers() -> None:
    outputs = torch.softmax(torch.randn(50, 2, generator=torch.Generator().manual_seed(0)), dim=1)
    targets = [i % 2 for i in range(50)]
    metric = TASK.new_metric()
    metric.update((outputs,), TASK.stack_targets(targets))
    figures = TASK.score(answers_of(TASK, outputs.numpy()), targets)
    assert figures == {"accuracy": pytest.approx(float(metric.compute()))}
    assert next(iter(figures)) == TASK.metric_name


def test_the_tail_gives_scores_that_sum_to_one() -> None:
    assert torch.allclose(TASK.tail()(torch.randn(5, 2)).sum(1), torch.ones(5))


def test_baselines_need_no_network() -> None:
    figures = TASK.baseline(split(200, 0), split(100, 1))
    assert set(figures) == {"commonest_label", "logistic_regression"}
    assert figures["commonest_label"] < 0.7
    assert figures["logistic_regression"] > 0.95


@pytest.mark.parametrize("labels", [("dark", "light"), ("고양이", "개"), ("$x", "a $_$")])
def test_the_confusion_matrix_is_drawn_whatever_the_labels(labels: tuple[str, ...], tmp_path: Path) -> None:
    task = ClassificationTraining(labels, PREPROCESS)
    samples = ArrayImages(np.zeros((3, 4, 4), np.uint8), np.array([0, 1, 0]))
    task.draw(tmp_path, samples, answers_of(task, np.eye(2, dtype=np.float32)[[0, 1, 1]]))
    assert (tmp_path / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")


def test_a_label_is_the_same_at_any_size_and_the_decode_parameters_keep_the_order() -> None:
    assert TASK.prepare_target(1, ImageSource(1000, 2000)) == 1
    assert TASK.finish(None, split(1, 0), split(1, 0)).labels == ("dark", "light")  # type: ignore[arg-type]
