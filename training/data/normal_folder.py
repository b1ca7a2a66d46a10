"""Pictures of one's own: a folder of good ones, or MVTec's layout with defective ones to test on.

FOLDER/* (or FOLDER/train/good/*) are good pictures. FOLDER/test/good/* and FOLDER/test/<kind>/*, where they are, make
the test split, with masks in FOLDER/ground_truth/<kind>/*_mask.png or FOLDER/test/masks/<kind>/*.png if there are any.
Without a test folder nothing real is known of defects: then a share of the good pictures is tested, as they are and
with defects painted on them, and every kind's name in the figures begins with "painted".
"""

from pathlib import Path
from typing import Literal

import numpy as np

from bundle.errors import DataError
from bundle.metrics.anomaly import GOOD
from training.data.painted import PaintedSamples
from training.data.samples import DataConfig, Samples, Splits, Subset
from training.data.surfaces import Joined, surface_files

MIN_GOOD = 10
HELD_OUT_SHARE = 0.2
SEED = 20260105  # fixed apart from the run's seed: what is chosen on and tested stays the same
PAINTED_COPIES = 2


class NormalFolder(DataConfig):
    """A folder of one's own."""

    dataset: Literal["normal-folder"] = "normal-folder"
    folder: Path

    def load(self) -> Splits:
        """List the pictures; they are read when they are needed.

        Raises:
            DataError: no such folder, fewer than ten good pictures, or a test folder without good or defective ones.
        """
        within = self.folder / "train" / GOOD
        good = surface_files(within if within.is_dir() else self.folder, GOOD)
        if len(good) < MIN_GOOD:
            raise DataError(f"{good.paths[0].parent}: {len(good)} pictures; at least {MIN_GOOD} good ones are needed")
        test_folder = self.folder / "test"
        tested_share = 0.0 if test_folder.is_dir() else HELD_OUT_SHARE
        train, held, tested = _cut(good, HELD_OUT_SHARE, tested_share)
        test = _defective(self.folder) if test_folder.is_dir() else _painted(tested, SEED + 1)
        kinds = {test.target(i).kind for i in range(len(test))} - {GOOD}
        return Splits((GOOD, *sorted(kinds)), train, test, _painted(held, SEED))


def _cut(good: Samples, *shares: float) -> tuple[Subset, ...]:
    """What is left, then a part for each share, drawn at random."""
    order = np.random.default_rng(SEED).permutation(len(good)).tolist()
    parts = []
    for share in shares:
        count = max(2, round(share * len(good))) if share else 0
        parts.append(Subset(good, sorted(order[:count])))
        order = order[count:]
    return (Subset(good, sorted(order)), *parts)


def _painted(good: Samples, seed: int) -> Joined:
    return Joined([good, PaintedSamples(good, PAINTED_COPIES, seed)])


def _defective(folder: Path) -> Joined:
    images = folder / "test" / "images" if (folder / "test" / "images").is_dir() else folder / "test"
    kinds = sorted(entry.name for entry in images.iterdir() if entry.is_dir() and entry.name not in (GOOD, "masks"))
    if not kinds:
        raise DataError(f"{images}: no folder of defective pictures beside '{GOOD}'; without any, leave {images} out")
    if not (images / GOOD).is_dir():
        raise DataError(f"{images}: no folder '{GOOD}'; a figure of right and wrong needs good pictures too")
    return Joined([surface_files(images / GOOD, GOOD), *(_kind(folder, images, kind) for kind in kinds)])


def _kind(folder: Path, images: Path, kind: str) -> Samples:
    known = [place / kind for place in (folder / "ground_truth", folder / "test" / "masks") if (place / kind).is_dir()]
    return surface_files(images / kind, kind, known[0] if known else None)
