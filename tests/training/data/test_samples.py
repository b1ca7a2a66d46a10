"""Splits: held out by stratum, known by a digest of every byte and every target."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from bundle.errors import DataError
from tests.training.listed import Listed
from training.data.samples import ArrayImages, Splits, Subset, hold_out, train_and_validation


def masks(num: int) -> list[np.ndarray]:
    return [np.full((40, 50), i % 3, np.uint8) for i in range(num)]


def strata_of(samples: Any) -> list[int]:
    return [samples.stratum(i) for i in range(len(samples))]


def test_holding_out_keeps_the_share_of_every_stratum_whatever_the_targets_are() -> None:
    samples = Listed([b""] * 60, masks(60), strata=[0] * 40 + [5] * 20)
    rest, held = hold_out(samples, 0.25, seed=0)
    assert (strata_of(held).count(0), strata_of(held).count(5)) == (10, 5)
    assert sorted([*rest.indices, *held.indices]) == list(range(60))


def test_where_there_is_nothing_to_keep_in_proportion_a_share_of_all_is_held_out() -> None:
    rest, held = hold_out(Listed([b""] * 20, masks(20)), 0.25, seed=0)
    assert (len(rest), len(held)) == (15, 5)
    assert hold_out(Listed([b""] * 20, masks(20)), 0.25, seed=0)[1].indices == held.indices
    assert hold_out(Listed([b""] * 20, masks(20)), 0.25, seed=1)[1].indices != held.indices


def test_every_stratum_keeps_one_to_learn_from() -> None:
    rest, held = hold_out(Listed([b""] * 4, masks(4), strata=[0, 0, 1, 2]), 0.9, seed=0)
    assert sorted(strata_of(rest)) == [0, 1, 2]
    assert strata_of(held) == [0]


def test_a_small_share_still_holds_out_one_of_every_stratum_that_has_two() -> None:
    rest, held = hold_out(Listed([b""] * 9, masks(9), strata=[0] * 6 + [1] * 2 + [2]), 0.01, seed=0)
    assert sorted(strata_of(held)) == [0, 1]
    assert sorted(strata_of(rest)) == [0] * 5 + [1, 2]


def test_a_part_gives_the_target_and_the_stratum_of_the_whole() -> None:
    samples = Listed([b"a", b"b", b"c"], masks(3), "text/plain", [0, 1, 0])
    part = Subset(samples, [2, 1])
    assert part.target(1) is samples.target(1)
    assert (part.stratum(1), part.media_type(1), part.name(1), part.raw(1)) == (1, "text/plain", "sample 1", b"b")
    assert strata_of(part) == [0, 1]


def test_the_label_is_the_stratum_of_pictures_in_an_array() -> None:
    samples = ArrayImages(np.zeros((3, 2, 2), np.uint8), np.array([2, 0, 1]))
    assert strata_of(samples) == [2, 0, 1]


def test_a_validation_split_of_its_own_is_taken_whole() -> None:
    train, validation, test = Listed([b"a"], [0]), Listed([b"b"], [0]), Listed([b"c"], [0])
    assert train_and_validation(Splits(("x",), train, test, validation), 0.5, 0) == (train, validation)
    with pytest.raises(DataError, match="holds out none"):
        train_and_validation(Splits(("x",), train, test), 0.5, 0)


def digest(target: Any, labels: tuple[str, ...] = ("x", "y"), raw: bytes = b"a") -> str:
    return Splits(labels, Listed([raw], [target]), Listed([b"test"], [0])).sha256()


LARGE = np.zeros((100, 100), np.uint8)  # numpy shows such an array without its middle


def changed_in_the_middle() -> np.ndarray:
    other = LARGE.copy()
    other[50, 50] = 1
    return other


def test_a_digest_covers_the_middle_of_a_large_target() -> None:
    assert repr(changed_in_the_middle()) == repr(LARGE)
    assert digest(changed_in_the_middle()) != digest(LARGE)
    assert digest(LARGE.copy()) == digest(LARGE)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8)),
        (np.zeros(4, np.uint8), np.zeros(1, np.uint32)),
        (np.zeros(4, np.int8), np.zeros(4, np.uint8)),
        (0, 1),
        (((0, 1.0, 2.0, 3.0, 4.0),), ((1, 1.0, 2.0, 3.0, 4.0),)),
    ],
    ids=["shape", "size", "dtype", "label", "boxes"],
)
def test_a_digest_tells_targets_apart(one: Any, other: Any) -> None:
    assert digest(one) != digest(other)


def test_a_digest_does_not_depend_on_how_an_array_lies_in_memory() -> None:
    square = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert digest(np.asfortranarray(square)) == digest(square)


def test_a_digest_covers_labels_and_raw_bytes() -> None:
    assert len({digest(0), digest(0, labels=("x", "z")), digest(0, raw=b"b")}) == 3


def test_a_digest_covers_the_validation_split() -> None:
    def with_validation(raw: bytes) -> str:
        return Splits(("x",), Listed([b"a"], [0]), Listed([b"b"], [0]), Listed([raw], [0])).sha256()

    assert with_validation(b"c") != with_validation(b"d")
