"""Generated scenes: circles, squares and triangles of any colour on uneven grounds, overlapping, with noise.

No download, no licence, and the truth is exact: masks for segmentation, boxes for detection. A scene follows from its
seed alone. Knows drawing. Knows nothing of networks or losses.
"""

from typing import Any, Literal

import cv2
import numpy as np
from pydantic import Field

from bundle.tensors import Array
from training.data.samples import DataConfig, Splits

LABELS = ("circle", "square", "triangle")
BACKGROUND = "background"
TEST_SEED = 20260103  # fixed apart from the run's seed: another seed must not change what is tested
TRAIN_SEED = 20260104
MAX_SHAPES = 5
MIN_VISIBLE_SHARE = 0.35  # a shape that is covered more than this leaves is not drawn: nobody could name it
MIN_CONTRAST = 60  # of 255, between a shape and what it lies on, in the channel where they differ most
TRIES = 8
NOISE_STD = 6.0
MAX_TURN_DEG = 15.0  # a square on its corner is no easier for people; upright ones are learned three times as fast
START_DEG = {"circle": 0.0, "square": 45.0, "triangle": -90.0}  # of the first corner: a side below, a tip above
NUM_CORNERS = {"circle": 48, "square": 4, "triangle": 3}

Box = tuple[int, float, float, float, float]
"""(label, x0, y0, x1, y1) in pixels, the upper ends not included."""


def draw_scene(rng: np.random.Generator, height_px: int, width_px: int) -> tuple[Array, Array, list[Box]]:
    """One scene of one to five shapes.

    Returns the picture, uint8 RGB [height, width, 3]; the mask, uint8 [height, width], 0 for the ground and
    label + 1 for a shape; and a box (label, x0, y0, x1, y1) a shape, in pixels, around what is visible of it.
    """
    image_HWC = _ground(rng, height_px, width_px)
    owner_HW = np.zeros((height_px, width_px), np.int32)  # 0 ground, else 1 + index of the shape on top
    drawn: list[tuple[int, int]] = []  # (label, visible pixels when drawn)
    for _ in range(int(rng.integers(1, MAX_SHAPES + 1))):
        label = int(rng.integers(len(LABELS)))
        inside_HW = _place(rng, label, owner_HW, [size for _, size in drawn])
        if inside_HW is None:
            continue
        _paint(rng, image_HWC, inside_HW)
        drawn.append((label, int(inside_HW.sum())))
        owner_HW[inside_HW] = len(drawn)
    noisy = image_HWC + rng.normal(0, NOISE_STD, image_HWC.shape)
    lookup = np.array([0, *(label + 1 for label, _ in drawn)], np.uint8)
    boxes = [_box(label, owner_HW == i) for i, (label, _) in enumerate(drawn, start=1)]
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8), lookup[owner_HW], boxes


def _ground(rng: np.random.Generator, height_px: int, width_px: int) -> Array:
    """Colours that change slowly from corner to corner, in one of a few roughnesses: float [height, width, 3]."""
    cells = int(rng.integers(2, 6))
    coarse = rng.uniform(30, 225) + rng.uniform(-35, 35, (cells, cells, 3))
    return np.clip(cv2.resize(coarse, (width_px, height_px), interpolation=cv2.INTER_CUBIC), 0, 255)


def _place(rng: np.random.Generator, label: int, owner_HW: Array, sizes: list[int]) -> Array | None:
    """Pixels of a new shape, bool [height, width], where it covers no other too much; None where none was found."""
    for _ in range(TRIES):
        inside_HW = _outline(rng, label, *owner_HW.shape)
        left = [np.count_nonzero((owner_HW == i) & ~inside_HW) for i in range(1, len(sizes) + 1)]
        if all(now >= MIN_VISIBLE_SHARE * size for now, size in zip(left, sizes, strict=True)):
            return inside_HW
    return None


def _outline(rng: np.random.Generator, label: int, height_px: int, width_px: int) -> Array:
    radius = rng.uniform(0.12, 0.26) * min(height_px, width_px)
    center = rng.uniform((radius, radius), (width_px - radius, height_px - radius))
    canvas = np.zeros((height_px, width_px), np.uint8)
    start = np.radians(START_DEG[LABELS[label]] + rng.uniform(-MAX_TURN_DEG, MAX_TURN_DEG))
    num_corners = NUM_CORNERS[LABELS[label]]
    angles = start + np.arange(num_corners) * 2 * np.pi / num_corners
    corners = center + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    cv2.fillPoly(canvas, [np.rint(corners * 16).astype(np.int32)], 1, shift=4)
    return canvas.astype(bool)


def _paint(rng: np.random.Generator, image_HWC: Array, inside_HW: Array) -> None:
    """One colour that stands out from what it covers, shaded along a random direction, sometimes striped."""
    under = image_HWC[inside_HW].mean(axis=0)
    color = rng.uniform(0, 255, 3)
    while np.abs(color - under).max() < MIN_CONTRAST:
        color = rng.uniform(0, 255, 3)
    height_px, width_px = inside_HW.shape
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:height_px, :width_px]
    along = (x * np.cos(angle) + y * np.sin(angle)) / min(height_px, width_px)
    shade = rng.uniform(-60, 60) * (along - along[inside_HW].mean())
    if rng.random() < 0.3:
        shade = shade + 18 * np.sign(np.sin(along * rng.uniform(40, 80)))
    image_HWC[inside_HW] = np.clip(color + shade[inside_HW][:, None], 0, 255)


def _box(label: int, visible_HW: Array) -> Box:
    ys, xs = np.flatnonzero(visible_HW.any(axis=1)), np.flatnonzero(visible_HW.any(axis=0))
    return (label, float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1))


class Scenes:
    """Scenes by number; the same seed and number are always the same scene."""

    def __init__(self, seed: int, count: int, height_px: int, width_px: int, targets: Literal["mask", "boxes"]) -> None:
        self._seed = seed
        rngs = (np.random.default_rng((seed, i)) for i in range(count))
        drawn = [draw_scene(rng, height_px, width_px) for rng in rngs]
        self._images = [image_HWC for image_HWC, _, _ in drawn]
        self._targets: list[Any] = [mask_HW if targets == "mask" else tuple(boxes) for _, mask_HW, boxes in drawn]

    def __len__(self) -> int:
        return len(self._images)

    def raw(self, index: int) -> bytes:
        """The picture as PNG."""
        _, png = cv2.imencode(".png", cv2.cvtColor(self._images[index], cv2.COLOR_RGB2BGR))
        return png.tobytes()

    def media_type(self, index: int) -> str:
        """Always PNG."""
        return "image/png"

    def target(self, index: int) -> Any:
        """The mask, uint8 [height, width], the value is the class; or a tuple of boxes in pixels."""
        return self._targets[index]

    def name(self, index: int) -> str:
        """Its number."""
        return f"scene {self._seed}/{index}"

    def stratum(self, index: int) -> int:
        """All scenes are alike."""
        return 0


class _Shapes(DataConfig):
    """How many scenes, and of what size."""

    num_train: int = Field(default=600, ge=2)
    num_test: int = Field(default=100, ge=1)
    height_px: int = Field(default=96, ge=16, le=1024)
    width_px: int = Field(default=96, ge=16, le=1024)

    def _scenes(self, seed: int, count: int, targets: Literal["mask", "boxes"]) -> Scenes:
        return Scenes(seed, count, self.height_px, self.width_px, targets)


class ShapesMasks(_Shapes):
    """Scenes with a mask each; class 0 is the ground."""

    dataset: Literal["shapes-masks"] = "shapes-masks"

    def load(self) -> Splits:
        """Draw all scenes."""
        train, test = self._scenes(TRAIN_SEED, self.num_train, "mask"), self._scenes(TEST_SEED, self.num_test, "mask")
        return Splits(labels=(BACKGROUND, *LABELS), train=train, test=test)


class ShapesBoxes(_Shapes):
    """Scenes with a tuple of boxes each."""

    dataset: Literal["shapes-boxes"] = "shapes-boxes"

    def load(self) -> Splits:
        """Draw all scenes."""
        train, test = self._scenes(TRAIN_SEED, self.num_train, "boxes"), self._scenes(TEST_SEED, self.num_test, "boxes")
        return Splits(labels=LABELS, train=train, test=test)
