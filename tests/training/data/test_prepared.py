"""A prepared split: rows of unlike length share a batch, padded with zeros; targets fit what was prepared."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from bundle.errors import BadInput, DataError  # noqa: E402
from bundle.preprocess import Limits, Prepared, SeriesSource, Source, TextSource  # noqa: E402
from tests.training.listed import Listed  # noqa: E402
from training.data.prepared import PreparedSplit  # noqa: E402

RAWS = (b"abc", b"a", b"abcde", b"ab")
LENGTHS = [len(raw) for raw in RAWS]


def letters(raw: bytes, limits: Limits) -> Prepared:
    """A letter is a token, 1 or more."""
    if raw == b"?":
        raise BadInput("that is no letter")
    ids = np.frombuffer(raw, np.uint8).astype(np.int64) - 96
    tensors = {"input_ids": ids, "attention_mask": np.ones(len(raw), np.int64)}
    return Prepared(tensors, TextSource(num_tokens=len(raw), truncated=False))


def target_and_length(target: int, source: Source) -> tuple[int, int]:
    assert isinstance(source, TextSource)
    return target, source.num_tokens


SPLIT = PreparedSplit(Listed(RAWS, [10, 11, 12, 13], "text/plain"), letters, target_and_length)


def test_all_rows_are_padded_with_zeros_to_the_longest() -> None:
    ids, mask = SPLIT.inputs
    assert ids.tolist() == [[1, 2, 3, 0, 0], [1, 0, 0, 0, 0], [1, 2, 3, 4, 5], [1, 2, 0, 0, 0]]
    assert mask.sum(1).tolist() == LENGTHS
    assert torch.equal(mask, (ids > 0).long())


def test_a_batch_is_padded_to_its_own_longest_row_only() -> None:
    (ids, mask), targets = SPLIT.__getitems__([3, 0])
    assert ids.tolist() == [[1, 2, 0], [1, 2, 3]]
    assert mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert targets == [(13, 2), (10, 3)]


def test_one_sample_comes_as_a_batch_of_one_with_its_target() -> None:
    (ids, mask), target = SPLIT[1]
    assert (ids.tolist(), mask.tolist(), target) == ([[1]], [[1]], (11, 1))


def test_targets_fit_the_prepared_row() -> None:
    assert SPLIT.targets == [(10, 3), (11, 1), (12, 5), (13, 2)]
    assert len(SPLIT) == 4


def test_rows_of_one_shape_are_stacked_once_and_need_no_padding() -> None:
    split = PreparedSplit(Listed([b"ab", b"cd", b"ef"], [0, 1, 2]), letters, target_and_length)
    ids, mask = split.inputs
    assert ids.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert mask.min() == 1
    assert split.inputs[0] is ids
    (chosen, _), targets = split.__getitems__([2, 0])
    assert (chosen.tolist(), [target for target, _ in targets]) == ([[5, 6], [1, 2]], [2, 0])


def test_every_axis_is_padded() -> None:
    def pictures(raw: bytes, limits: Limits) -> Prepared:
        return Prepared({"image": np.full((raw[0], raw[1]), 7, np.uint8)}, SeriesSource(1))

    (images,) = PreparedSplit(Listed([b"\1\3", b"\2\1"], [0, 0]), pictures, lambda target, _: target).inputs
    assert images.tolist() == [[[7, 7, 7], [0, 0, 0]], [[7, 0, 0], [7, 0, 0]]]
    assert images.dtype == torch.uint8


def test_a_sample_that_cannot_be_read_is_named() -> None:
    with pytest.raises(DataError, match="sample 1: that is no letter"):
        PreparedSplit(Listed([b"a", b"?"], [0, 1]), letters, target_and_length)
