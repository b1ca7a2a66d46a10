"""Run-length encoding: what goes in comes out, and pycocotools reads and writes the same letters."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bundle.errors import BadInput
from bundle.rle import Rle, read_rle, write_rle
from bundle.tensors import Array

LAW = settings(derandomize=True, deadline=None, max_examples=300)
MASKS = arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


def blocks(seed: int, side_px: int) -> Array:
    """Areas as large as in photographs, whose runs take several letters."""
    rng = np.random.default_rng(seed)
    return np.kron(rng.random((6, 9)) < 0.5, np.ones((side_px, side_px))) > 0


@given(MASKS)
@LAW
def test_a_mask_survives(mask_HW: Array) -> None:
    assert np.array_equal(read_rle(write_rle(mask_HW)), mask_HW)


@pytest.mark.parametrize("side_px", [1, 7, 50, 333])
def test_large_areas_survive(side_px: int) -> None:
    mask_HW = blocks(side_px, side_px)
    assert np.array_equal(read_rle(write_rle(mask_HW)), mask_HW)


@given(MASKS)
@LAW
def test_pycocotools_writes_the_same_letters(mask_HW: Array) -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="the reference implementation is a tool of development")
    theirs = coco.encode(np.asfortranarray(mask_HW.astype(np.uint8)))
    assert write_rle(mask_HW) == Rle(tuple(theirs["size"]), theirs["counts"].decode())


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # its own use of numpy
@pytest.mark.parametrize("side_px", [50, 333])
def test_pycocotools_reads_large_areas(side_px: int) -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="the reference implementation is a tool of development")
    mask_HW = blocks(side_px, side_px)
    written = write_rle(mask_HW)
    assert np.array_equal(coco.decode({"size": list(written.size), "counts": written.counts}), mask_HW)


def test_it_survives_json() -> None:
    written = write_rle(blocks(0, 50))
    assert msgspec.json.decode(msgspec.json.encode(written), type=Rle) == written


@pytest.mark.parametrize("counts", ["", " ", "0", "04", "1" * 3, "é", "~~", "P" * 30 + "0", "!"])
def test_counts_that_are_none_are_refused(counts: str) -> None:
    with pytest.raises(BadInput, match="RLE"):
        read_rle(Rle((3, 4), counts))


@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=40))
@LAW
def test_whatever_is_read_is_a_mask_of_the_stated_size_or_is_refused(counts: str) -> None:
    try:
        mask_HW = read_rle(Rle((5, 6), counts))
    except BadInput:
        return
    assert mask_HW.shape == (5, 6)
