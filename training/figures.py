"""Pictures for the run folder: curves and the confusion matrix.

Knows matplotlib and arrays. Knows nothing of networks.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bundle.tensors import Array

MAX_WRITTEN_LABELS = 30  # with more classes the numbers in the cells can't be read


def draw_curves(path: Path, rows: list[dict[str, float]], metric: str) -> None:
    """Loss and metric by epoch, side by side; the best epoch is marked by the caller's `rows` alone."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    for name, label in (("train_loss", "train"), ("validation_loss", "validation")):
        left.plot(epochs, [row[name] for row in rows], marker=".", label=label)
    left.set(xlabel="epoch", ylabel="loss", title="loss")
    left.legend()
    name = f"validation_{metric}"
    right.plot(epochs, [row[name] for row in rows], marker=".", color="tab:green")
    right.set(xlabel="epoch", ylabel=metric, title=f"{metric} on validation")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(path, dpi=120)


def draw_confusion(path: Path, counts: Array, labels: tuple[str, ...]) -> None:
    """Rows are the true labels, columns the answers; colour is the share of the row, numbers are counts."""
    size = max(4.5, 0.55 * len(labels) + 2)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(labels))
    axes.set_xticks(ticks, labels, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, labels)
    axes.set(xlabel="answer", ylabel="truth", title=f"test split: {np.trace(counts)} of {counts.sum()} right")
    if len(labels) <= MAX_WRITTEN_LABELS:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                color = "white" if share[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=8)
    figure.savefig(path, dpi=120)
