"""Look-alike tiles stay together when some are held out."""

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="data sets belong to the training extra")

from bundle.metrics.anomaly import GOOD
from training.data.magnetic_tile import HELD_OUT_SHARE, _hold_out, _look_alikes, _small
from training.data.surfaces import surface_files

NUM_TILES, NUM_EXPOSURES = 30, 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for tile in range(NUM_TILES):
        image_HW = cv2.resize(np.random.default_rng(tile).normal(0, 1, (8, 8)), (64, 64), interpolation=cv2.INTER_CUBIC)
        for exposure in range(NUM_EXPOSURES):
            shown = np.clip(120 + (20 + 10 * exposure) * image_HW, 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / f"exp{exposure}_num_{tile:03}.png"), shown)
    return tmp_path


def tile_of(path: Path) -> str:
    return path.stem.rpartition("_")[2]


def test_exposures_of_one_tile_are_found_by_their_correlation(folder: Path) -> None:
    tiles = surface_files(folder, GOOD)
    groups = _look_alikes(np.stack([_small(path.read_bytes()) for path in tiles.paths]))
    names = [tile_of(path) for path in tiles.paths]
    assert len(set(groups.tolist())) == NUM_TILES
    assert len({(group, name) for group, name in zip(groups.tolist(), names, strict=True)}) == NUM_TILES


def test_what_is_held_out_shares_no_tile_with_the_rest(folder: Path) -> None:
    tiles = surface_files(folder, GOOD)
    held = _hold_out(tiles)
    assert len(held) == round(HELD_OUT_SHARE * len(tiles))
    assert held == _hold_out(tiles)
    inside = {tile_of(tiles.paths[i]) for i in held}
    outside = {tile_of(path) for i, path in enumerate(tiles.paths) if i not in held}
    assert not inside & outside
