"""Magnetic tiles (Huang, Qiu and Yuan 2020, a subset): good ones to learn from, five kinds of defect to find."""

from typing import Literal

import cv2
import numpy as np

from bundle.metrics.anomaly import GOOD
from bundle.preprocess import Limits
from bundle.preprocess.image import read_image
from bundle.tensors import Array
from training.data.fetch import fetch
from training.data.painted import PaintedSamples
from training.data.samples import DataConfig, Splits, Subset
from training.data.surfaces import Joined, SurfaceFiles, surface_files

KINDS = ("blowhole", "break", "crack", "fray", "uneven")
HELD_OUT_SHARE = 0.2
HELD_OUT_SEED = 20260103  # fixed apart from the run's seed: what is chosen on stays the same
PAINTED_COPIES = 2
SMALL_PX = 48
LOOK_ALIKE = 0.9  # correlation of two pictures from which they may show one tile at two exposures


class MagneticTile(DataConfig):
    """180 good tiles in train; 50 good and 100 defective ones, with masks, in test."""

    dataset: Literal["magnetic-tile"] = "magnetic-tile"

    def load(self) -> Splits:
        """Good tiles alone in train; validation holds a fifth of them, as they are and with painted defects.

        The data set photographs a tile at several exposures: look-alikes stay on one side of that cut.
        """
        folder = fetch("magnetic-tile")
        tiles = surface_files(folder / "train" / GOOD, GOOD)
        held = _hold_out(tiles)
        rest = np.setdiff1d(np.arange(len(tiles)), held).tolist()
        good = Subset(tiles, held)
        images, masks = folder / "test" / "images", folder / "test" / "masks"
        defective = [surface_files(images / kind, kind, masks / kind) for kind in KINDS]
        return Splits(
            labels=(GOOD, *KINDS),
            train=Subset(tiles, rest),
            test=Joined([surface_files(images / GOOD, GOOD), *defective]),
            validation=Joined([good, PaintedSamples(good, PAINTED_COPIES, HELD_OUT_SEED)]),
        )


def _hold_out(tiles: SurfaceFiles) -> list[int]:
    """Whole groups of look-alikes, drawn until the share is reached; a group that would overshoot it is passed over."""
    groups = _look_alikes(np.stack([_small(tiles.raw(i)) for i in range(len(tiles))]))
    wanted = round(HELD_OUT_SHARE * len(tiles))
    held: list[int] = []
    for group in np.random.default_rng(HELD_OUT_SEED).permutation(np.unique(groups)):
        members = np.flatnonzero(groups == group).tolist()
        held += members if len(held) + len(members) <= wanted else []
    return sorted(held)


def _small(raw: bytes) -> Array:
    image_HWC = read_image(raw, Limits())[..., :1]
    small = cv2.resize(image_HWC, (SMALL_PX, SMALL_PX), interpolation=cv2.INTER_AREA).astype(np.float64).ravel()
    return (small - small.mean()) / max(small.std(), 1e-6)


def _look_alikes(rows: Array) -> Array:
    """A number a picture; pictures that are linked by correlations over the limit share it."""
    alike = rows @ rows.T / rows.shape[1] > LOOK_ALIKE
    groups = np.arange(len(rows))
    for one, other in zip(*np.nonzero(alike), strict=True):
        groups[groups == groups[other]] = groups[one]
    return groups
