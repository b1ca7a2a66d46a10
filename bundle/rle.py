"""Run-length encoded masks as COCO writes them: what pycocotools and most annotation tools read.

Runs go down the columns and begin with a run of zeros; their lengths are written in groups of five bits, from the
third on as the difference to the one before the last. Knows arrays. Knows nothing of classes.
"""

import msgspec
import numpy as np

from bundle.errors import BadInput
from bundle.tensors import Array

BITS = 5
SIGN = 0x10  # of the last group
MORE = 0x20  # another group follows
FIRST_LETTER = 48
MAX_GROUPS = 13  # enough for any 64-bit difference


class Rle(msgspec.Struct, frozen=True):
    """One binary mask: its height and width in pixels, and its runs."""

    size: tuple[int, int]
    counts: str


def write_rle(mask_HW: Array) -> Rle:
    """Encode a binary mask, bool or 0/1 [height, width]."""
    height_px, width_px = mask_HW.shape
    flat = np.concatenate([[False], mask_HW.astype(bool).ravel(order="F")])
    starts = np.flatnonzero(flat[1:] != flat[:-1])
    runs = np.diff(starts, prepend=0, append=flat.size - 1)
    return Rle((height_px, width_px), _write_runs(runs))


def read_rle(rle: Rle) -> Array:
    """Decode to bool [height, width].

    Raises:
        BadInput: the runs are not of the stated size, or are no runs at all.
    """
    height_px, width_px = rle.size
    runs = _read_runs(rle.counts)
    if (runs < 0).any() or runs.sum() != height_px * width_px:
        raise BadInput(f"the RLE's runs cover {runs.sum()} pixels; its size says {height_px} x {width_px}")
    values = np.arange(runs.size) % 2 == 1
    return np.repeat(values, runs).reshape((height_px, width_px), order="F")


def _write_runs(runs: Array) -> str:
    left = runs.astype(np.int64)
    left[3:] -= runs[1:-2]
    letters = np.zeros((left.size, MAX_GROUPS), np.uint8)  # 0: no letter
    open_ = np.ones(left.size, bool)
    for i in range(MAX_GROUPS):
        group = left & (MORE - 1)
        left >>= BITS
        goes_on = left != np.where(group & SIGN, -1, 0)
        letters[open_, i] = ((group | np.where(goes_on, MORE, 0)) + FIRST_LETTER)[open_]
        open_ &= goes_on
        if not open_.any():
            break
    return letters[letters > 0].tobytes().decode("ascii")


def _read_runs(counts: str) -> Array:
    groups = np.frombuffer(counts.encode("latin-1", "replace"), np.uint8).astype(np.int64) - FIRST_LETTER
    if groups.size == 0 or (groups < 0).any() or (groups >= 2 * MORE).any() or groups[-1] & MORE:
        raise BadInput(f"these are no RLE counts as COCO writes them: {counts[:40]!r}")
    ends = np.flatnonzero((groups & MORE) == 0)
    firsts = np.concatenate([[0], ends[:-1] + 1])
    places = np.arange(groups.size) - np.repeat(firsts, ends - firsts + 1)
    if places.max() >= MAX_GROUPS:
        raise BadInput("these are no RLE counts as COCO writes them: a run is longer than any picture")
    values = np.add.reduceat((groups & (MORE - 1)) << (BITS * places), firsts)
    negative = (groups[ends] & SIGN) != 0
    values -= np.where(negative, np.int64(1) << (BITS * (places[ends] + 1)).clip(max=62), 0)
    for first in (1, 2):  # every second run builds on the one before the last, and the first run on none
        values[first::2] = np.cumsum(values[first::2])
    return values
