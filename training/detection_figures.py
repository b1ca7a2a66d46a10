"""Pictures of a detector's answers: precision over recall, scores of right and wrong boxes, best and worst pictures.

Knows matplotlib, boxes and samples. Knows nothing of networks.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from bundle.boxes import Boxes
from bundle.metrics.average_precision import AveragePrecision, Truth, Verdicts, verdicts
from bundle.overlays import draw_boxes
from bundle.preprocess import Limits
from bundle.preprocess.image import read_image
from bundle.tensors import Array
from training.data.samples import Samples
from training.figures import drawable_labels

NUM_SHOWN = 3  # best and worst pictures each
SHOWN_WIDTH_PX = 480
GAP_PX = 6
WHITE = (255, 255, 255)


def draw_precision_recall(path: Path, figures: AveragePrecision, labels: Sequence[str]) -> None:
    """One curve a label, at an overlap of 0.50."""
    figure = Figure(figsize=(5.5, 4.5), layout="constrained")
    axes = figure.subplots()
    recall = np.linspace(0, 1, len(figures.precision50))
    with drawable_labels(labels) as names:
        for name, precision, ap in zip(names, figures.precision50.T, figures.by_label50, strict=True):
            if np.isfinite(ap):
                axes.plot(recall, precision, label=f"{name}  AP50 {ap:.3f}")
        title = f"test split: mAP50 {figures.map50:.3f}, mAP50-95 {figures.map:.3f}"
        axes.set(xlabel="recall", ylabel="precision", title=title, xlim=(0, 1), ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        axes.legend(loc="lower left")
        figure.savefig(path, dpi=120)


def draw_scores(path: Path, judged: Verdicts, threshold: float) -> None:
    """How right and wrong boxes score, and where the default threshold lies."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    parts = [judged.scores[judged.right], judged.scores[~judged.right]]
    shown = judged.scores >= threshold
    hits = int((shown & judged.right).sum())
    precision, recall = hits / max(int(shown.sum()), 1), hits / max(judged.num_truths, 1)
    axes.hist(
        parts,
        bins=np.linspace(0, 1, 41).tolist(),
        stacked=True,
        label=["right", "wrong"],
        color=["tab:green", "tab:red"],
    )
    axes.axvline(threshold, color="black", linestyle="--", label=f"default threshold {threshold:.2f}")
    title = f"from the threshold on: precision {precision:.3f}, recall {recall:.3f}"
    axes.set(xlabel="score", ylabel="boxes of the test split", title=title)
    axes.legend(loc="upper right")
    figure.savefig(path, dpi=120)


def draw_best_and_worst(
    path: Path, samples: Samples, truths: Sequence[Truth], shown: Sequence[Boxes], labels: Sequence[str]
) -> None:
    """Truth and answer side by side: the best pictures in the left column, the worst in the right."""
    quality = [_f1(truth, found, len(labels)) for truth, found in zip(truths, shown, strict=True)]
    order = np.argsort(-np.array(quality), kind="stable").tolist()
    half = min(NUM_SHOWN, -(-len(order) // 2))
    columns = [
        _below_each_other([_side_by_side(samples.raw(i), truths[i], shown[i], labels) for i in chosen])
        for chosen in (order[:half], order[half:][-NUM_SHOWN:])
        if chosen
    ]
    height_px = max(len(column) for column in columns)
    padded = [_pad(column, height_px - len(column), 2 * GAP_PX) for column in columns]
    cv2.imwrite(str(path), cv2.cvtColor(np.concatenate(padded, axis=1), cv2.COLOR_RGB2BGR))


def _below_each_other(tiles: list[Array]) -> Array:
    return np.concatenate([_pad(tile, GAP_PX, 0) for tile in tiles])


def _pad(image_HWC: Array, below_px: int, right_px: int) -> Array:
    return cv2.copyMakeBorder(image_HWC, 0, below_px, 0, right_px, cv2.BORDER_CONSTANT, value=WHITE)


def _f1(truth: Truth, found: Boxes, num_labels: int) -> float:
    judged = verdicts([truth], [found], num_labels)
    return 2 * float(judged.right.sum()) / max(len(judged.scores) + judged.num_truths, 1)


def _side_by_side(raw: bytes, truth: Truth, found: Boxes, labels: Sequence[str]) -> Array:
    image_HWC = read_image(raw, Limits())
    factor = SHOWN_WIDTH_PX / image_HWC.shape[1]
    image_HWC = cv2.resize(image_HWC, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    left = draw_boxes(image_HWC, truth.boxes_xyxy * factor, [labels[i] for i in truth.labels])
    scores = found.scores.tolist()
    right = draw_boxes(image_HWC, found.boxes_xyxy * factor, [labels[i] for i in found.labels], scores)
    return np.concatenate([left, np.full((len(left), GAP_PX, 3), 255, np.uint8), right], axis=1)
