"""The test split decides too: answers that differ and a metric that drops are refused, ties are not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

pytest.importorskip("torch", reason="export needs torch")

import numpy as np

from bundle.errors import ParityError
from bundle.preprocess import ImageResize, load_preprocess
from bundle.tasks.classification import Classification, ClassificationDecode, ClassificationTask, LabelScore
from bundle.tensors import Tensors
from export.evaluate import Evaluation, Reference, check_evaluation, evaluate
from export.tolerance import tolerance
from tests.builders import png
from tests.training.listed import Listed

TASK = ClassificationTask(ClassificationDecode(labels=("0", "1", "2")))
PRECISIONS = ("fp32", "int8")


def dark_and_bright(rows: list[Tensors]) -> list[Tensors]:
    """Stands in for a checkpoint: bright pictures are "2", dark ones "0"."""
    shares = [float(row["image"].mean()) / 255 for row in rows]
    return [{"scores": np.array([1 - share, 0.0, share], np.float32)} for share in shares]


def blindly(rows: list[Tensors]) -> list[Tensors]:
    """Stands in for a broken artefact: every picture is black to it."""
    return dark_and_bright([{"image": np.zeros_like(row["image"])} for row in rows])


def share_right(answers: Sequence[Any], targets: list[Any]) -> dict[str, float]:
    right = [answer.label == str(target) for answer, target in zip(answers, targets, strict=True)]
    return {"accuracy": sum(right) / len(right), "count": len(right)}


def reference(better: Literal["max", "min"] = "max") -> Reference:
    pictures = [png(np.full((4, 4, 3), level, np.uint8)) for level in (0, 255, 10, 250)]
    samples = Listed(pictures, [0, 2, 0, 2])
    return Reference("the checkpoint", dark_and_bright, samples, share_right, "accuracy", better)


def answer(label: str, other: str, lead: float) -> Classification:
    best = 0.5 + lead / 2
    return Classification(label, best, (LabelScore(label, best), LabelScore(other, 1 - best)))


CLEAR, TIE = answer("1", "2", 0.5), answer("1", "2", 1e-6)


def check(want: Evaluation, got: Evaluation, precision: str, better: Literal["max", "min"] = "max") -> list[float]:
    limits = tolerance("image-classification", precision)
    checks = check_evaluation(TASK, reference(better), want, got, limits)
    assert [one.kind for one in checks] == ["decoded", "metric"]
    return [one.value for one in checks]


def test_the_same_answers_pass() -> None:
    assert check(Evaluation([CLEAR], 1.0), Evaluation([CLEAR], 1.0), "fp32") == [0.0, 0.0]


def test_an_answer_that_differs_is_refused_and_named() -> None:
    got = Evaluation([CLEAR, answer("2", "1", 0.5)], 1.0)
    with pytest.raises(ParityError, match=r"share of 2 test answers.*0\.5.*first: sample 1: expected '1'"):
        check(Evaluation([CLEAR, CLEAR], 1.0), got, "fp32")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_only_a_tie_of_fp32_arithmetic_may_flip(precision: str) -> None:
    flipped = Evaluation([answer("2", "1", 0.0)], 1.0)
    assert check(Evaluation([TIE], 1.0), flipped, precision) == [0.0, 0.0]
    with pytest.raises(ParityError, match="decoded"):
        check(Evaluation([answer("1", "2", 1e-3)], 1.0), flipped, precision)


@pytest.mark.parametrize(("better", "metric"), [("max", 0.9), ("min", 1.1)])
def test_a_metric_that_gets_worse_is_refused(better: Literal["max", "min"], metric: float) -> None:
    with pytest.raises(ParityError, match=r"drop of accuracy .* 1\.0000 -> "):
        check(Evaluation([CLEAR], 1.0), Evaluation([CLEAR], metric), "int8", better)


@pytest.mark.parametrize(("better", "metric"), [("max", 1.1), ("min", 0.9)])
def test_a_metric_that_gets_better_passes(better: Literal["max", "min"], metric: float) -> None:
    assert check(Evaluation([CLEAR], 1.0), Evaluation([CLEAR], metric), "int8", better)[1] == pytest.approx(-0.1)


def test_every_sample_is_answered_from_its_raw_bytes_and_scored_by_the_named_figure() -> None:
    prepare = load_preprocess(ImageResize(height_px=4, width_px=4), Path())
    found = evaluate(reference(), dark_and_bright, prepare, TASK)
    assert [one.label for one in found.answers] == ["0", "2", "0", "2"]  # type: ignore[attr-defined]
    assert found.metric == 1.0
    blind = evaluate(reference(), blindly, prepare, TASK)
    assert blind.metric == 0.5
