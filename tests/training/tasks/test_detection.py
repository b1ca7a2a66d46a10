"""Detection while training: targets fit the prepared picture, metrics count what users count, pictures are drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from bundle.boxes import Boxes  # noqa: E402
from bundle.preprocess import ImageResize, ImageSource, load_preprocess  # noqa: E402
from bundle.tasks.detection import Detection, DetectionTask  # noqa: E402
from tests.builders import png  # noqa: E402
from training.architectures.fcos import FcosConfig  # noqa: E402
from training.blobs import box_grid, otsu_blobs  # noqa: E402
from training.config import Augment  # noqa: E402
from training.data.prepared import PreparedSplit  # noqa: E402
from training.graph import Graph, new_stem  # noqa: E402
from training.tasks.detection import Box, DetectionTraining  # noqa: E402

LABELS = ("block", "dot")
SPEC = ImageResize(height_px=32, width_px=48)
SOURCE = ImageSource(height_px=64, width_px=96)
TASK = DetectionTraining(LABELS, SPEC)
NAMES = ("boxes_xyxy", "scores", "labels", "num_detections")


@dataclass(frozen=True)
class Drawn:
    """Dark pictures of 96 x 64 pixels with one bright block and one bright dot each."""

    count: int

    def __len__(self) -> int:
        return self.count

    def target(self, index: int) -> tuple[Box, ...]:
        x = 8.0 + 4 * index
        return (0, x, 8.0, x + 30, 40.0), (1, x + 34, 50.0, x + 42, 58.0)

    def raw(self, index: int) -> bytes:
        image = np.zeros((64, 96, 3), np.uint8)
        for _, *sides in self.target(index):
            x0, y0, x1, y1 = map(int, sides)
            image[y0:y1, x0:x1] = 200
        return png(image)

    def media_type(self, index: int) -> str:
        return "image/png"

    def name(self, index: int) -> str:
        return f"drawn {index}"

    def stratum(self, index: int) -> int:
        return 0


def prepared(count: int) -> PreparedSplit:
    return PreparedSplit(Drawn(count), load_preprocess(SPEC, Path()), TASK.prepare_target)


def answers(found: Sequence[Boxes]) -> list[Detection]:
    """As the bundle's task makes them of a graph's rows."""
    task = DetectionTask(TASK.finish(graph(), prepared(2), prepared(2)))
    rows = []
    for one in found:
        boxes, scores, labels = np.zeros((100, 4)), np.zeros(100), np.zeros(100, np.int64)
        boxes[: len(one)], scores[: len(one)], labels[: len(one)] = one.boxes_xyxy, one.scores, one.labels
        rows.append(dict(zip(NAMES, (boxes, scores, labels, np.array(len(one))), strict=True)))
    return [task.decode(row, SOURCE, task.golden_options()) for row in rows]


def right(split: PreparedSplit) -> list[Boxes]:
    tables = [np.array(target) for target in split.targets]
    return [Boxes(table[:, 1:], table[:, 0].astype(np.int64), np.array([0.9, 0.8])) for table in tables]


def graph() -> Graph:
    torch.manual_seed(0)
    made = Graph(new_stem(SPEC), FcosConfig.tiny().build(SPEC, TASK.num_outputs), TASK.tail())
    made.stem.fit(prepared(4).inputs)
    return made.eval()


def test_targets_are_shares_of_the_picture_padded_to_the_longest() -> None:
    one = TASK.prepare_target([(1, 48.0, 16.0, 96.0, 64.0)], SOURCE)
    assert one == [(1, 0.5, 0.25, 1.0, 1.0)]
    stacked = TASK.stack_targets([one * 2, []])
    assert stacked.tolist() == [[[1, 0.5, 0.25, 1, 1]] * 2, [[-1, 0, 0, 0, 0]] * 2]


@pytest.mark.parametrize("targets", [[], [[]], [[], []]])
def test_pictures_without_boxes_still_make_a_batch(targets: list[list[Box]]) -> None:
    assert TASK.stack_targets(targets).shape == (len(targets), 1, 5)


def test_boxes_move_with_the_picture() -> None:
    augment = TASK.augment(Augment(flip=True))
    assert augment is not None
    torch.manual_seed(0)
    boxes = torch.tensor([[[0, 0.25, 0.5, 0.5, 1.0]]]).repeat(64, 1, 1)
    _, targets = augment(torch.zeros(64, 3, 32, 48), boxes)
    flipped = targets[:, 0, 1] == 0.5
    assert 10 < int(flipped.sum()) < 54
    assert targets[flipped][0, 0].tolist() == pytest.approx([0, 0.5, 0.5, 0.75, 1.0])
    assert TASK.augment(Augment()) is None


def test_the_metric_of_tensors_is_the_score_of_answers() -> None:
    split = prepared(6)
    found = right(split)
    found[0].boxes_xyxy[0] += (0.02, 0, 0.02, 0)
    found[1] = found[1].take(np.array([0]))
    metric = TASK.new_metric()
    for one, target in zip(found, split.targets, strict=True):
        rows = [torch.from_numpy(array)[None] for array in (one.boxes_xyxy, one.scores, one.labels)]
        metric.update((*rows, torch.tensor([len(one)])), TASK.stack_targets([target]))
    figures = TASK.score(answers(found), [split.samples.target(i) for i in range(6)])
    assert list(figures) == ["map", "map50", "ap50_block", "ap50_dot"]
    assert 0.5 < figures["map"] < figures["map50"] < 1
    assert figures["map"] == pytest.approx(float(metric.compute()), abs=1e-3)


def test_what_is_all_right_scores_one() -> None:
    split = prepared(3)
    figures = TASK.score(answers(right(split)), [split.samples.target(i) for i in range(3)])
    assert figures == {name: pytest.approx(1, abs=1e-6) for name in ("map", "map50", "ap50_block", "ap50_dot")}


def test_a_label_that_never_occurs_has_no_figure() -> None:
    assert set(TASK.score([Detection(())], [((0, 0.0, 0.0, 9.0, 9.0),)])) == {"map", "map50", "ap50_block"}


def test_a_network_learns_and_finish_finds_its_threshold() -> None:
    made, split = graph().train(), prepared(8)
    targets = TASK.stack_targets(split.targets)
    optimizer = torch.optim.AdamW(made.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        loss = TASK.loss(made.logits(split.inputs), targets, 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
    decode = TASK.finish(made.eval(), split, split)
    assert (decode.labels, decode.max_detections) == (LABELS, 100)
    assert 0 < decode.default_score_threshold < 1


def test_baselines_need_no_network() -> None:
    figures = TASK.baseline(prepared(6), prepared(4))
    assert set(figures) == {"grid_of_commonest_boxes", "otsu_blobs"}
    assert figures["grid_of_commonest_boxes"] < 0.3
    assert figures["otsu_blobs"] > 0.6


def test_a_picture_of_one_colour_has_no_blobs() -> None:
    known = np.array([[0, 0.1, 0.1, 0.4, 0.4]])
    assert len(otsu_blobs(np.full((32, 48, 3), 90, np.uint8), known)) == 0
    assert len(box_grid(known)) == 9


@pytest.mark.parametrize("labels", [LABELS, ("고양이", "$x_$")])
@pytest.mark.parametrize("count", [1, 8])
def test_pictures_are_drawn_whatever_the_labels(labels: tuple[str, ...], count: int, tmp_path: Path) -> None:
    task = DetectionTraining(labels, SPEC)
    found = right(prepared(count))
    listed = [renamed(answer, labels) for answer in answers([*found[:-1], found[-1].take(np.zeros(0, np.int64))])]
    task.draw(tmp_path, Drawn(count), listed)
    assert {path.name for path in tmp_path.iterdir()} == {"precision_recall.png", "scores.png", "best_and_worst.png"}
    assert all(cv2.imread(str(path)) is not None for path in tmp_path.iterdir())


def renamed(answer: Detection, labels: tuple[str, ...]) -> Detection:
    """The same answer under other names."""
    found = [type(one)(one.box_xyxy, labels[LABELS.index(one.label)], one.score) for one in answer.detections]
    return Detection(tuple(found))
