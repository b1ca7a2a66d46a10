"""Segmentation while training: tensors and answers are counted alike, void is nowhere, pictures are drawn."""

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from bundle.errors import DataError  # noqa: E402
from bundle.preprocess import ImageResize, ImageSource, load_preprocess  # noqa: E402
from bundle.tasks import TASKS  # noqa: E402
from bundle.tasks.segmentation import VOID, Segmentation, SegmentationDecode  # noqa: E402
from bundle.tensors import Array  # noqa: E402
from training.data.prepared import PreparedSplit  # noqa: E402
from training.data.shapes import Scenes, ShapesMasks  # noqa: E402
from training.tasks.segmentation import Decide, SegmentationTraining  # noqa: E402

LABELS = ("background", "circle", "square", "triangle")
PREPROCESS = ImageResize(height_px=32, width_px=48)
TASK = SegmentationTraining(LABELS, PREPROCESS)
MEANING = TASKS["image-segmentation"](SegmentationDecode(labels=LABELS))
SCENES = Scenes(seed=1, count=8, height_px=32, width_px=48, targets="mask")


def answer(mask_HW: Array) -> Segmentation:
    outputs = {"mask": mask_HW.astype(np.uint8), "margin": np.ones(mask_HW.shape, np.float32)}
    return MEANING.decode(outputs, ImageSource(*mask_HW.shape), MEANING.golden_options())


def split(scenes: Scenes = SCENES) -> PreparedSplit:
    return PreparedSplit(scenes, load_preprocess(PREPROCESS, Path()), TASK.prepare_target)


def logits(seed: int = 0, num: int = 3) -> torch.Tensor:
    return torch.randn(num, 4, 32, 48, generator=torch.Generator().manual_seed(seed))


def test_the_metric_of_tensors_is_the_score_of_answers() -> None:
    outputs = TASK.tail()(logits())
    targets = [SCENES.target(i).copy() for i in range(3)]
    targets[0][:5] = VOID
    metric = TASK.new_metric()
    metric.update(outputs, TASK.stack_targets(targets))
    figures = TASK.score([answer(mask.numpy()) for mask in outputs[0]], targets)
    assert next(iter(figures)) == TASK.metric_name
    assert figures["miou"] == pytest.approx(float(metric.compute()))


def test_the_truth_scores_one_and_a_class_that_is_nowhere_is_left_out() -> None:
    truth = np.zeros((32, 48), np.uint8)
    truth[:, 20:] = 2
    assert TASK.score([answer(truth)], [truth]) == {
        "miou": 1.0, "pixel_accuracy": 1.0, "iou_background": 1.0, "iou_square": 1.0,
    }  # fmt: skip


def test_void_is_in_no_figure() -> None:
    truth = np.full((32, 48), VOID, np.uint8)
    truth[:, :10] = 1
    guess = np.full((32, 48), 3, np.uint8)
    guess[:, :10] = 1
    assert TASK.score([answer(guess)], [truth])["miou"] == 1.0


def test_void_is_not_in_the_loss() -> None:
    targets = TASK.stack_targets([SCENES.target(i) for i in range(3)])
    targets[:, :, 24:] = -1
    changed = logits()
    changed[..., 24:] = torch.randn(3, 4, 32, 24)
    assert torch.allclose(TASK.loss(logits(), targets, 0.0), TASK.loss(changed, targets, 0.0))


def test_a_batch_that_is_all_void_has_a_finite_loss() -> None:
    targets = torch.full((2, 32, 48), -1)
    values = logits(num=2).requires_grad_()
    loss = TASK.loss(values, targets, 0.0)
    loss.backward()
    assert torch.isfinite(loss)
    assert values.grad is not None
    assert torch.isfinite(values.grad).all()


def test_the_loss_falls_towards_the_truth() -> None:
    targets = TASK.stack_targets([SCENES.target(i) for i in range(3)])
    truth = torch.nn.functional.one_hot(targets, 4).movedim(-1, 1).float()
    losses = [float(TASK.loss(logits() + sureness * truth, targets, 0.0)) for sureness in (0, 2, 5, 20)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.01


def test_the_tail_gives_the_best_class_and_its_lead() -> None:
    scores = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]])
    mask, margin = Decide()(scores.log().view(2, 3, 1, 1))
    assert mask.dtype == torch.uint8
    assert mask.flatten().tolist() == [1, 0]
    assert margin.flatten().tolist() == pytest.approx([0.5, 0.0])


def test_a_mask_of_another_size_than_its_picture_is_refused() -> None:
    with pytest.raises(DataError, match="5 x 4 pixels, its picture 6 x 4"):
        TASK.prepare_target(np.zeros((4, 5), np.uint8), ImageSource(height_px=4, width_px=6))


def test_targets_get_the_size_of_the_prepared_picture_and_no_new_classes() -> None:
    truth = SCENES.target(0)
    large = cv2.resize(truth, (480, 320), interpolation=cv2.INTER_NEAREST)
    assert np.array_equal(TASK.prepare_target(large, ImageSource(320, 480)), truth)


def test_baselines_need_no_network() -> None:
    figures = TASK.baseline(split(), split(Scenes(2, 8, 32, 48, "mask")))
    assert set(figures) == {"commonest_class", "commonest_class_at_each_place"}
    assert all(0 < figure < 0.4 for figure in figures.values())


def test_pictures_of_the_best_and_the_worst_are_drawn(tmp_path: Path) -> None:
    answers = [answer(SCENES.target(i) if i % 2 else np.zeros((32, 48))) for i in range(8)]
    TASK.draw(tmp_path, SCENES, answers)
    assert (tmp_path / "iou_by_class.png").read_bytes().startswith(b"\x89PNG")
    picture = cv2.imread(str(tmp_path / "overlays.png"))
    assert picture.shape[1] > 6 * 300


@pytest.mark.parametrize("num", [1, 2, 5])
def test_pictures_are_drawn_of_few_answers_too(num: int, tmp_path: Path) -> None:
    TASK.draw(tmp_path, SCENES, [answer(SCENES.target(i)) for i in range(num)])
    assert (tmp_path / "overlays.png").is_file()


def test_pictures_of_unlike_shapes_are_drawn_together(tmp_path: Path) -> None:
    class Mixed(Scenes):
        def __init__(self) -> None:
            parts = [Scenes(1, 1, height_px, 48, "mask") for height_px in (20, 30, 40)]
            self._images = [part._images[0] for part in parts]
            self._targets = [part.target(0) for part in parts]

    TASK.draw(tmp_path, Mixed(), [answer(Mixed().target(i)) for i in range(3)])
    assert (tmp_path / "overlays.png").is_file()


def test_the_generated_data_set_is_for_this_task() -> None:
    assert ShapesMasks().load().labels == LABELS
