"""Suppression in the graph is greedy suppression, exactly, and the rows keep their promises."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the tail is torch")

from bundle.tensors import TensorSpec  # noqa: E402
from export.onnx import export_onnx  # noqa: E402
from runtime.ort import OrtRuntime  # noqa: E402
from training.boxes import iou  # noqa: E402
from training.nms import NUM_ROUNDS, DetectionTail, keep  # noqa: E402

LAW = settings(derandomize=True, deadline=None, max_examples=150)
NMS_IOU = 0.5
OUTPUTS = ("boxes_xyxy", "scores", "labels", "num_detections")


def greedy(boxes_xyxy: np.ndarray, labels: np.ndarray, nms_iou: float) -> np.ndarray:
    """The textbook's loop, on boxes that come best first."""
    overlaps = iou(torch.from_numpy(boxes_xyxy)[:, None], torch.from_numpy(boxes_xyxy)[None]).numpy()
    kept: list[int] = []
    for i in range(len(boxes_xyxy)):
        if all(labels[i] != labels[j] or overlaps[i, j] <= nms_iou for j in kept):
            kept.append(i)
    return np.isin(np.arange(len(boxes_xyxy)), kept)


def crowd(seed: int, count: int, num_labels: int, side: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of one size thrown onto a unit square: the larger, the denser."""
    rng = np.random.default_rng(seed)
    left_top = rng.uniform(0, 1 - side, (count, 2))
    size = side * rng.uniform(0.7, 1.3, (count, 2))
    boxes_xyxy = np.concatenate([left_top, left_top + size], axis=1).astype(np.float32)
    return boxes_xyxy, rng.integers(0, num_labels, count)


def verdict(boxes_xyxy: np.ndarray, labels: np.ndarray, nms_iou: float = NMS_IOU) -> np.ndarray:
    return keep(torch.from_numpy(boxes_xyxy)[None], torch.from_numpy(labels)[None], nms_iou)[0].numpy() == 1


@given(st.integers(0, 10**6), st.integers(1, 120), st.integers(1, 4), st.floats(0.05, 0.6), st.floats(0.1, 0.9))
@LAW
def test_keeps_what_the_greedy_loop_keeps(seed: int, count: int, num_labels: int, side: float, nms_iou: float) -> None:
    boxes_xyxy, labels = crowd(seed, count, num_labels, side)
    assert np.array_equal(verdict(boxes_xyxy, labels, nms_iou), greedy(boxes_xyxy, labels, nms_iou))


@pytest.mark.parametrize("side", [0.05, 0.15, 0.3])
def test_three_hundred_candidates_of_a_crowded_picture(side: float) -> None:
    boxes_xyxy, labels = crowd(7, 300, 1, side)
    assert np.array_equal(verdict(boxes_xyxy, labels), greedy(boxes_xyxy, labels, NMS_IOU))


def test_a_chain_as_long_as_the_rounds_is_still_exact() -> None:
    """Each box overlaps only its neighbour: every second goes, and the last verdict waits for all before it."""
    left = np.arange(NUM_ROUNDS + 1) * 0.3
    boxes_xyxy = np.stack([left, 0 * left, left + 1, 0 * left + 1], axis=1).astype(np.float32)
    labels = np.zeros(len(left), np.int64)
    kept = verdict(boxes_xyxy, labels)
    assert np.array_equal(kept, greedy(boxes_xyxy, labels, NMS_IOU))
    assert kept.tolist() == [i % 2 == 0 for i in range(len(left))]


def test_an_overlap_of_just_the_limit_is_kept() -> None:
    boxes_xyxy = np.array([[0, 0, 1, 1], [0, 0, 1, 0.5]], np.float32)
    assert verdict(boxes_xyxy, np.zeros(2, np.int64), 0.5).tolist() == [True, True]
    assert verdict(boxes_xyxy, np.zeros(2, np.int64), 0.49).tolist() == [True, False]


def test_labels_do_not_suppress_each_other() -> None:
    boxes_xyxy = np.array([[0, 0, 1, 1]] * 3, np.float32)
    assert verdict(boxes_xyxy, np.array([0, 1, 0])).tolist() == [True, True, False]


def candidates(seed: int, batch: int = 2, count: int = 60, num_labels: int = 3) -> tuple[torch.Tensor, ...]:
    boxes = np.stack([crowd(seed + i, count, 1, 0.3)[0] for i in range(batch)])
    logits = torch.randn(batch, count, num_labels, generator=torch.Generator().manual_seed(seed)) * 3
    return logits, torch.from_numpy(boxes), torch.zeros(count, 2)


def tail(max_detections: int = 20, num_candidates: int = 50, score_floor: float = 0.3) -> DetectionTail:
    return DetectionTail(max_detections, num_candidates, score_floor, NMS_IOU)


@given(st.integers(0, 10**6), st.integers(1, 70), st.integers(1, 70), st.floats(0.0, 1.0))
@LAW
def test_rows_fall_in_score_and_end_in_zeros(seed: int, rows: int, num_candidates: int, floor: float) -> None:
    boxes_xyxy, scores, labels, count = tail(rows, num_candidates, floor)(candidates(seed))
    for i in range(2):
        n = int(count[i])
        assert (scores[i, :n] > floor).all()
        assert (scores[i, :n].diff() <= 0).all()
        assert ((boxes_xyxy[i] >= 0) & (boxes_xyxy[i] <= 1)).all()
        assert not boxes_xyxy[i, n:].any()
        assert not scores[i, n:].any()
        assert not labels[i, n:].any()


def test_the_rows_are_what_the_loop_keeps_of_the_candidates() -> None:
    logits, boxes, points = candidates(3, batch=1)
    found, scores, labels, count = tail(max_detections=50)((logits, boxes, points))
    best, label = logits[0].sigmoid().max(dim=1)
    order = best.argsort(descending=True)[:50]
    order = order[best[order] > 0.3]
    kept = order[greedy(boxes[0, order].clamp(0, 1).numpy(), label[order].numpy(), NMS_IOU)]
    assert int(count) == len(kept)
    assert torch.equal(found[0, : len(kept)], boxes[0, kept].clamp(0, 1))
    assert torch.equal(scores[0, : len(kept)], best[kept])
    assert torch.equal(labels[0, : len(kept)], label[kept])


def test_a_row_in_a_batch_equals_the_row_alone() -> None:
    logits, boxes, points = candidates(5, batch=3)
    together = tail()((logits, boxes, points))
    for i in range(3):
        alone = tail()((logits[i : i + 1], boxes[i : i + 1], points))
        assert all(torch.equal(many[i], one[0]) for many, one in zip(together, alone, strict=True))


def test_nothing_over_the_floor_is_nothing_found() -> None:
    logits, boxes, points = candidates(1)
    found, scores, labels, count = tail()((logits - 100, boxes, points))
    assert [int(value) for value in (found.sum(), scores.sum(), labels.sum(), count.sum())] == [0, 0, 0, 0]


def test_fewer_places_than_rows_still_give_all_rows() -> None:
    logits, boxes, points = candidates(1, count=5)
    found, scores, labels, count = tail(max_detections=20)((logits, boxes, points))
    assert (found.shape, scores.shape, labels.shape, count.shape) == ((2, 20, 4), (2, 20), (2, 20), (2,))


class Served(torch.nn.Module):
    """The tail behind inputs that a runtime can feed."""

    def __init__(self) -> None:
        super().__init__()
        self.tail = tail()

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits, boxes = inputs
        return self.tail((logits, boxes, boxes[0, :, :2]))


def test_the_exported_tail_gives_the_same_rows_at_other_batch_sizes(tmp_path: Path) -> None:
    inputs = (
        TensorSpec(name="logits", dtype="float32", shape=("batch", 60, 3)),
        TensorSpec(name="boxes", dtype="float32", shape=("batch", 60, 4)),
    )
    outputs = (
        TensorSpec(name="boxes_xyxy", dtype="float32", shape=("batch", 20, 4)),
        TensorSpec(name="scores", dtype="float32", shape=("batch", 20)),
        TensorSpec(name="labels", dtype="int64", shape=("batch", 20)),
        TensorSpec(name="num_detections", dtype="int64", shape=("batch",)),
    )
    export_onnx(Served(), inputs, outputs, tmp_path / "tail.onnx")
    runtime = OrtRuntime(tmp_path / "tail.onnx")
    assert runtime.outputs == outputs
    for batch in (1, 3, 32):
        logits, boxes, points = candidates(batch, batch=batch)
        got = runtime.run({"logits": logits.numpy(), "boxes": boxes.numpy()})
        for name, expected in zip(OUTPUTS, tail()((logits, boxes, points)), strict=True):
            np.testing.assert_allclose(got[name], expected.numpy(), atol=1e-6)
