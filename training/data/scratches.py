"""Generated brushed metal, with scratches and dents in some: an anomaly data set that needs no download.

The defects of the test split are drawn by other rules than those that training paints (training/data/defects.py).
"""

from typing import Literal

import cv2
import numpy as np
from pydantic import Field

from bundle.metrics.anomaly import GOOD
from bundle.tensors import Array
from training.data.painted import PaintedSamples
from training.data.samples import DataConfig, Splits
from training.data.surfaces import Joined, SurfaceArrays

SEED = 20260106
NUM_GOOD = {"train": 200, "validation": 40, "test": 60}
NUM_DEFECTIVE = 30  # of each kind, in test


class Scratches(DataConfig):
    """Square grey pictures of brushed metal."""

    dataset: Literal["scratches"] = "scratches"
    side_px: int = Field(default=64, ge=16, le=512)

    def load(self) -> Splits:
        """200 good ones in train; validation paints defects on good ones; test has scratches and dents."""
        rng = np.random.default_rng(SEED)
        good = {split: self._surfaces(rng, GOOD, count) for split, count in NUM_GOOD.items()}
        defective = [self._surfaces(rng, kind, NUM_DEFECTIVE) for kind in DEFECTS]
        return Splits(
            labels=(GOOD, *DEFECTS),
            train=good["train"],
            test=Joined([good["test"], *defective]),
            validation=Joined([good["validation"], PaintedSamples(good["validation"], 1, SEED)]),
        )

    def _surfaces(self, rng: np.random.Generator, kind: str, count: int) -> SurfaceArrays:
        images, masks = zip(*(_draw(rng, kind, self.side_px) for _ in range(count)), strict=True)
        return SurfaceArrays(np.stack(images), [kind] * count, np.stack(masks))


def _draw(rng: np.random.Generator, kind: str, side_px: int) -> tuple[Array, Array]:
    metal_HW = _brushed_metal(rng, side_px)
    cover_HW = np.zeros_like(metal_HW) if kind == GOOD else DEFECTS[kind](rng, side_px)
    mask_HW = np.abs(cover_HW) > 8
    return np.rint(np.clip(metal_HW + cover_HW, 0, 255)).astype(np.uint8), mask_HW


def _brushed_metal(rng: np.random.Generator, side_px: int) -> Array:
    """Upright streaks under light that falls off to one side."""
    streaks_HW = cv2.GaussianBlur(rng.normal(0, 1, (side_px, side_px)), (0, 0), sigmaX=0.6, sigmaY=side_px / 6)
    grain_HW = rng.normal(0, 3, (side_px, side_px))
    slope = rng.normal(0, 20, 2)
    y, x = np.mgrid[-0.5 : 0.5 : side_px * 1j, -0.5 : 0.5 : side_px * 1j]
    return rng.uniform(95, 150) + 10 * streaks_HW / streaks_HW.std() + grain_HW + slope[0] * x + slope[1] * y


def _scratch(rng: np.random.Generator, side_px: int) -> Array:
    """One to three straight bright lines, each with a dark edge."""
    cover_HW = np.zeros((side_px, side_px), np.float32)
    for _ in range(rng.integers(1, 4)):
        start, angle = rng.uniform(0.1, 0.9, 2) * side_px, rng.uniform(0, np.pi)
        reach = rng.uniform(0.15, 0.5) * side_px * np.array([np.cos(angle), np.sin(angle)])
        for shift, level in ((1.2, -25.0), (0.0, rng.uniform(30, 70))):
            begin, end = (np.rint(16 * (at + shift)).astype(int).tolist() for at in (start, start + reach))
            cv2.line(cover_HW, begin, end, level, 1, cv2.LINE_AA, 4)
    return cover_HW


def _dent(rng: np.random.Generator, side_px: int) -> Array:
    """A round hollow: bright where it faces the light, dark on its other side."""
    centre, radius = rng.uniform(0.15, 0.85, 2), rng.uniform(0.05, 0.14)
    y, x = np.mgrid[0 : 1 : side_px * 1j, 0 : 1 : side_px * 1j]
    y, x = (y - centre[0]) / radius, (x - centre[1]) / radius
    return (rng.uniform(40, 90) * (x + y) * np.exp(-(x**2 + y**2))).astype(np.float32)


DEFECTS = {"dent": _dent, "scratch": _scratch}
