"""The test split decides too: answers that differ and a metric that drops are refused, ties are not."""

import pytest

pytest.importorskip("torch", reason="export needs torch")

from bundle.errors import ParityError
from bundle.store import Bundle
from bundle.tasks.classification import Classification, LabelScore
from export.evaluate import Evaluation, check_evaluation
from export.tolerance import TOLERANCES
from runtime.predictor import load_predictor


def answer(label: str, other: str, lead: float) -> Classification:
    best = 0.5 + lead / 2
    return Classification(label, best, (LabelScore(label, best), LabelScore(other, 1 - best)))


CLEAR, TIE = answer("1", "2", 0.5), answer("1", "2", 1e-6)


def check(bundle: Bundle, want: Evaluation, got: Evaluation, precision: str, higher_wins: bool = True) -> list[float]:
    checks = check_evaluation(
        load_predictor(bundle), want, got, TOLERANCES[precision], "accuracy", higher_wins=higher_wins
    )
    assert [one.kind for one in checks] == ["decoded", "metric"]
    return [one.value for one in checks]


def test_the_same_answers_pass(tiny_bundle: Bundle) -> None:
    assert check(tiny_bundle, Evaluation([CLEAR], 1.0), Evaluation([CLEAR], 1.0), "fp32") == [0.0, 0.0]


def test_an_answer_that_differs_is_refused_and_named(tiny_bundle: Bundle) -> None:
    got = Evaluation([CLEAR, answer("2", "1", 0.5)], 1.0)
    with pytest.raises(ParityError, match=r"share of 2 test answers.*0\.5.*first: sample 1: expected '1'"):
        check(tiny_bundle, Evaluation([CLEAR, CLEAR], 1.0), got, "fp32")


@pytest.mark.parametrize("precision", TOLERANCES)
def test_only_a_tie_of_fp32_arithmetic_may_flip(precision: str, tiny_bundle: Bundle) -> None:
    flipped = Evaluation([answer("2", "1", 0.0)], 1.0)
    assert check(tiny_bundle, Evaluation([TIE], 1.0), flipped, precision) == [0.0, 0.0]
    with pytest.raises(ParityError, match="decoded"):
        check(tiny_bundle, Evaluation([answer("1", "2", 1e-3)], 1.0), flipped, precision)


@pytest.mark.parametrize(("higher_wins", "metric"), [(True, 0.9), (False, 1.1)])
def test_a_metric_that_gets_worse_is_refused(higher_wins: bool, metric: float, tiny_bundle: Bundle) -> None:
    with pytest.raises(ParityError, match=r"drop of accuracy .* 1\.0000 -> "):
        check(tiny_bundle, Evaluation([CLEAR], 1.0), Evaluation([CLEAR], metric), "int8", higher_wins)
