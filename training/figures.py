"""Pictures for the run folder: curves and the confusion matrix.

Knows matplotlib and arrays. Knows nothing of networks.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font, get_font_names

from bundle.tensors import Array

MAX_WRITTEN_LABELS = 30  # with more classes the numbers in the cells can't be read


FONTS = ("DejaVu Sans", "Noto Sans CJK KR", "Noto Sans CJK JP", "NanumGothic", "Malgun Gothic", "AppleGothic")
"""What labels are drawn with, glyph by glyph the first that has it; the first is part of matplotlib."""


def draw_curves(path: Path, rows: list[dict[str, float]], metric: str) -> None:
    """Loss and metric by epoch, side by side; the best epoch is marked by the caller's `rows` alone."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    for name, label in (("train_loss", "train"), ("validation_loss", "validation")):
        left.plot(epochs, [row[name] for row in rows], marker=".", label=label)
    left.set(xlabel="epoch", ylabel="loss", title="loss")
    left.legend(loc="upper right")
    name = f"validation_{metric}"
    right.plot(epochs, [row[name] for row in rows], marker=".", color="tab:green")
    right.set(xlabel="epoch", ylabel=metric, title=f"{metric} on validation")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(path, dpi=120)


def draw_confusion(path: Path, counts: Array, labels: tuple[str, ...]) -> None:
    """Rows are the true labels, columns the answers; colour is the share of the row, numbers are counts."""
    with drawable_labels(labels) as names:
        size = max(4.5, 0.55 * len(names) + 2)
        figure = Figure(figsize=(size, size), layout="constrained")
        axes = figure.subplots()
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="answer", ylabel="truth", title=f"test split: {np.trace(counts)} of {counts.sum()} right")
        if len(names) <= MAX_WRITTEN_LABELS:
            for (row, column), count in np.ndenumerate(counts):
                if count:
                    color = "white" if share[row, column] > 0.5 else "black"
                    axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=8)
        figure.savefig(path, dpi=120)


def draw_bars(path: Path, labels: tuple[str, ...], values: Array, title: str) -> None:
    """One bar a label, 0 to 1, best first, with its value; a label of value nan is left out."""
    kept = [i for i in np.argsort(-values, kind="stable").tolist() if np.isfinite(values[i])]
    with drawable_labels(labels) as names:
        figure = Figure(figsize=(7, 0.32 * len(kept) + 1.2), layout="constrained")
        axes = figure.subplots()
        bars = axes.barh(range(len(kept)), values[kept], color="tab:blue")
        axes.bar_label(bars, [f"{value:.2f}" for value in values[kept]], padding=3, fontsize=8)
        axes.set_yticks(range(len(kept)), [names[i] for i in kept])
        axes.set(xlim=(0, 1), title=f"{title}: mean {np.mean(values[kept]):.3f}")
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.3)
        figure.savefig(path, dpi=120)


@contextlib.contextmanager
def drawable_labels(labels: Sequence[str]) -> Iterator[list[str]]:
    """The labels as matplotlib can write them, while fonts are set that have their letters.

    Where no font here has a label's letters, its number stands for it instead of a row of empty boxes.
    """
    fonts = [name for name in FONTS if name in get_font_names()]
    glyphs = [get_font(findfont(name)) for name in fonts]
    names = [
        label if all(any(font.get_char_index(ord(letter)) for font in glyphs) for letter in label) else f"label {i}"
        for i, label in enumerate(labels)
    ]
    with matplotlib.rc_context({"font.family": fonts, "text.parse_math": False}):  # a $ is a $
        yield names
