"""The scorer: an answer or an error a row, in order, and a bad row never fails its neighbours."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bundle.errors import BadInput, DeviceLost, OutOfMemory, RuntimeFailed
from bundle.evidence import Latency
from bundle.store import open_bundle
from bundle.tensors import Tensors
from runtime.choice import Choice, Wanted, choose
from runtime.devices import device_info, installed_version
from runtime.predictor import load_predictor
from runtime.runtime import Placement
from scoring.scorer import Scorer, cheapest_batch, read_options
from tests.builders import png
from tests.scoring.running import write_example_bundle


def scorer_of(folder: Path) -> Scorer:
    bundle = open_bundle(folder)
    return Scorer(bundle, choose(bundle, device_info(Placement()), Wanted(), installed_version))


@pytest.fixture
def scorer(picture_bundle: Path) -> Scorer:
    found = scorer_of(picture_bundle)
    found.batch_size = 4
    return found


def raw(content: bytes) -> Callable[[], bytes]:
    return lambda: content


def refuse() -> bytes:
    raise BadInput("not to be had")


def test_answers_are_the_predictors_and_bad_rows_say_why(scorer: Scorer, picture_bundle: Path) -> None:
    good = [png(seed=i) for i in range(9)]
    expected = load_predictor(open_bundle(picture_bundle)).predict(good)
    scored = scorer([*map(raw, good[:5]), refuse, raw(b"junk"), *map(raw, good[5:])])
    assert [one.answer for one in scored if one.answer] == expected
    assert [(i, one.cause) for i, one in enumerate(scored) if one.answer is None] == [(5, "BadInput"), (6, "BadInput")]
    assert scored[5].error == "not to be had"
    assert len(scorer.batch_ms) == 3


def test_no_row_is_no_answer(scorer: Scorer) -> None:
    assert scorer([]) == []
    assert [one.cause for one in scorer([refuse])] == ["BadInput"]


def test_rows_of_unlike_shape_never_share_a_batch(text_bundle: Path) -> None:
    scorer = scorer_of(text_bundle)
    scorer.batch_size = 3
    texts = ["a", "a b c " * 7, "b", "d e f " * 7, "c", "d"]
    expected = load_predictor(open_bundle(text_bundle)).predict([text.encode() for text in texts])
    assert [one.answer for one in scorer([raw(text.encode()) for text in texts])] == expected


class Stumbling:
    """A runtime that fails batches which hold a certain row, or too many."""

    def __init__(self, runtime: object, fails: Callable[[Tensors], Exception | None]) -> None:
        self._runtime, self._fails = runtime, fails
        self.sizes: list[int] = []

    def run(self, batch: Tensors) -> Tensors:
        self.sizes.append(len(batch["image"]))
        if cause := self._fails(batch):
            raise cause
        return self._runtime.run(batch)  # type: ignore[attr-defined,no-any-return]


def test_only_the_row_that_breaks_a_batch_fails(scorer: Scorer) -> None:
    good = [png(seed=i) for i in range(4)]
    marked = scorer.predictor.prepare(good[2]).tensors["image"]

    def fails(batch: Tensors) -> Exception | None:
        return RuntimeFailed("broke") if any(np.array_equal(row, marked) for row in batch["image"]) else None

    scorer.predictor.runtime = Stumbling(scorer.predictor.runtime, fails)  # type: ignore[assignment]
    assert [one.cause for one in scorer(list(map(raw, good)))] == ["", "", "RuntimeFailed", ""]


def test_a_batch_that_memory_does_not_hold_is_halved(scorer: Scorer) -> None:
    runtime = Stumbling(
        scorer.predictor.runtime, lambda batch: OutOfMemory("full") if len(batch["image"]) > 2 else None
    )
    scorer.predictor.runtime = runtime  # type: ignore[assignment]
    assert all(one.answer for one in scorer([raw(png(seed=i)) for i in range(4)]))
    assert runtime.sizes == [4, 2, 2]


def test_a_lost_device_ends_it(scorer: Scorer) -> None:
    scorer.predictor.runtime = Stumbling(scorer.predictor.runtime, lambda _: DeviceLost("gone"))  # type: ignore[assignment]
    with pytest.raises(DeviceLost):
        scorer([raw(png())])


def test_an_answer_that_cannot_be_decoded_is_an_error_of_its_row(tmp_path: Path) -> None:
    """The fake runtime's classes are no labels of the bundle where it says so."""
    scorer = scorer_of(write_example_bundle(tmp_path, "image-segmentation"))
    real = scorer.predictor.runtime

    class Beyond:
        def run(self, batch: Tensors) -> Tensors:
            outputs = real.run(batch)
            return outputs | {"mask": np.full_like(outputs["mask"], 200)}

    scorer.predictor.runtime = Beyond()  # type: ignore[assignment]
    (scored,) = scorer([raw(png())])
    assert scored.cause == "BundleError"
    assert "class 200" in scored.error


def test_the_cheapest_batch_is_measured(picture_bundle: Path) -> None:
    bundle = open_bundle(picture_bundle)
    choice = choose(bundle, device_info(Placement()), Wanted(), installed_version)

    def with_(table: dict[int, float]) -> Choice:
        return Choice(**{**vars(choice), "latency": Latency(threads=1, median_ms=table)})

    assert cheapest_batch(with_({1: 10, 8: 60, 32: 300}), 32) == 8
    assert cheapest_batch(with_({1: 10, 8: 80, 32: 320}), 32) == 1
    assert cheapest_batch(with_({1: 10, 8: 60, 32: 100}), 8) == 8
    assert cheapest_batch(Choice(**{**vars(choice), "latency": None}), 32) == 32


class Options(msgspec.Struct, forbid_unknown_fields=True):
    top_k: int | None = None
    threshold: float = 0.5


def test_options_are_those_of_the_task() -> None:
    assert read_options(Options, ["top_k=3", "threshold=0.25"]) == Options(3, 0.25)
    assert read_options(Options, []) == Options()
    for given, problem in (("top_k", "not of the form"), ("topk=3", "takes top_k, threshold"), ("top_k=x", "int")):
        with pytest.raises(BadInput, match=problem):
            read_options(Options, [given])
