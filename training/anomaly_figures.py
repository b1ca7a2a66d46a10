"""Pictures of what an anomaly detector answered: scores with their threshold, maps, errors along a series.

Knows matplotlib, answers and samples. Knows nothing of networks.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import auc, roc_curve

from bundle.heatmap import decode_map, draw_anomaly
from bundle.preprocess import Limits
from bundle.preprocess.image import read_image
from bundle.tasks.anomaly import Anomaly, Verdict
from bundle.tasks.series_anomaly import SeriesAnomaly
from bundle.tensors import Array
from training.data.samples import Samples
from training.data.surfaces import Surface

NUM_SHOWN = 4
TILE_PX = 256
THRESHOLD = 0.5
TRUTH_COLOUR = (0, 255, 0)


def draw_scores(path: Path, scores: Sequence[float], kinds: Sequence[str], normal: str) -> None:
    """Histogram of the scores by kind with the threshold, and the ROC curve with the point that it stands for."""
    values, names = np.array(scores), np.array(kinds)
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    order = [normal, *sorted(set(kinds) - {normal})]
    left.hist([values[names == kind] for kind in order], bins=np.linspace(0, 1, 31).tolist(), stacked=True, label=order)
    left.axvline(THRESHOLD, color="black", linestyle="--", label="threshold")
    left.set(xlabel="anomaly score", ylabel="samples", title="scores of the test split")
    left.legend(loc="upper right", fontsize=8)  # "best" warns where finding it takes a second
    _draw_roc(right, values, names != normal)
    figure.savefig(path, dpi=120)


def _draw_roc(axes, values: Array, truth: Array) -> None:  # type: ignore[no-untyped-def]
    false_rate, true_rate, _ = roc_curve(truth, values)
    axes.plot(false_rate, true_rate, label=f"AUROC {auc(false_rate, true_rate):.4f}")
    over = values >= THRESHOLD
    axes.plot([over[~truth].mean()], [over[truth].mean()], "ko", label="at the threshold")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
    axes.set(xlabel="normal ones called anomalous", ylabel="anomalous ones found", title="ROC")
    axes.legend(loc="lower right")


def draw_maps(path: Path, samples: Samples, targets: Sequence[Surface], answers: Sequence[Anomaly]) -> None:
    """Columns: the surest and the missed defects, the surest and the suspected good ones; below each its map.

    The picture shows the true outline in green, the map its own in white.
    """
    figure = Figure(figsize=(4 * NUM_SHOWN, 6), layout="constrained")
    chosen = _chosen(answers, [target.kind != "good" for target in targets])
    axes = figure.subplots(2, max(len(chosen), 2), squeeze=False)
    for one in axes.flat:
        one.set_axis_off()
    for column, (i, why) in enumerate(chosen):
        image_HWC = read_image(samples.raw(i), Limits())
        answer = answers[i]
        map_HW = decode_map(answer.anomaly_map.b64)
        mask_HW = targets[i].mask(*image_HWC.shape[:2])
        axes[0, column].imshow(_fit(_outlined(image_HWC, mask_HW)))
        axes[0, column].set_title(f"{why}\n{targets[i].kind}, score {answer.anomaly_score:.2f}", fontsize=9)
        axes[1, column].imshow(_fit(draw_anomaly(image_HWC, map_HW, answer.anomaly_map.threshold)))
    figure.savefig(path, dpi=100)


def draw_series(path: Path, samples: Samples, answers: Sequence[SeriesAnomaly], truth: Sequence[bool]) -> None:
    """The same choice of series as `draw_maps` makes of pictures; the redder the ground, the larger the error there."""
    chosen = _chosen(answers, truth)
    figure = Figure(figsize=(3.2 * NUM_SHOWN, 5), layout="constrained")
    axes = figure.subplots(2, -(-len(chosen) // 2), squeeze=False).flatten()
    for one, (i, why) in zip(axes, chosen, strict=False):
        values = np.array(samples.raw(i).decode().split(","), np.float64)
        low, high = values.min(), values.max()
        extent = (-0.5, len(values) - 0.5, low, high)
        one.imshow(
            np.array([answers[i].errors]),
            cmap="Reds",
            vmin=0,
            vmax=1,
            aspect="auto",
            extent=extent,
            interpolation="none",
        )
        one.plot(values, color="black", linewidth=1)
        one.set_title(f"{why}\nscore {answers[i].anomaly_score:.3f}", fontsize=9)
    figure.savefig(path, dpi=110)


def _chosen(answers: Sequence[Verdict], truth: Sequence[bool]) -> list[tuple[int, str]]:
    """Indices with their reasons: the surest and the worst, anomalous and normal."""
    scores, is_bad = np.array([answer.anomaly_score for answer in answers]), np.array(truth)
    order = np.argsort(scores, kind="stable")
    bad, good = order[is_bad[order]].tolist(), order[~is_bad[order]].tolist()
    half = NUM_SHOWN // 2
    return [
        *((i, "anomalous, highest") for i in bad[::-1][:half]),
        *((i, "anomalous, lowest") for i in bad[:half]),
        *((i, "normal, highest") for i in good[::-1][:half]),
        *((i, "normal, lowest") for i in good[:half]),
    ]


def _outlined(image_HWC: Array, mask_HW: Array) -> Array:
    contours, _ = cv2.findContours(mask_HW.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(image_HWC.copy(), contours, -1, TRUTH_COLOUR, 1)


def _fit(image_HWC: Array) -> Array:
    factor = TILE_PX / max(image_HWC.shape[:2])
    return cv2.resize(image_HWC, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
