"""Scores of a text become labels, with what was read of it."""

import msgspec
import numpy as np
import pytest

from bundle.preprocess import TextSource
from bundle.tasks import TASKS
from bundle.tasks.classification import ClassificationDecode, ClassificationOptions, LabelScore
from bundle.tasks.text_classification import TextClassification, TextClassificationTask

TASK = TextClassificationTask(ClassificationDecode(labels=("부정", "긍정")))
SOURCE = TextSource(num_tokens=12, truncated=False)
SCORES = {"scores": np.array([0.25, 0.75], np.float32)}


def answer(
    label: str = "긍정", score: float = 0.75, num_tokens: int = 12, truncated: bool = False
) -> TextClassification:
    return TextClassification(label, score, (LabelScore(label, score),), num_tokens, truncated)


@pytest.mark.parametrize("source", [SOURCE, TextSource(num_tokens=0, truncated=True)])
def test_an_answer_says_what_was_read_of_the_text(source: TextSource) -> None:
    got = TASK.decode(SCORES, source, ClassificationOptions())
    assert (got.label, got.score) == ("긍정", 0.75)
    assert [entry.label for entry in got.top_k] == ["긍정", "부정"]
    assert (got.num_tokens, got.truncated) == (source.num_tokens, source.truncated)


def test_as_many_labels_as_asked_for_are_listed() -> None:
    assert len(TASK.decode(SCORES, SOURCE, ClassificationOptions(top_k=1)).top_k) == 1


def test_an_answer_survives_json() -> None:
    got = TASK.decode(SCORES, SOURCE, TASK.golden_options())
    encoded = msgspec.json.encode(got)
    assert list(msgspec.json.decode(encoded)) == ["label", "score", "top_k", "num_tokens", "truncated"]
    assert msgspec.json.decode(encoded, type=TextClassification) == got


def test_answers_agree_as_those_of_classification_do() -> None:
    assert TASK.agree(answer(score=0.75), answer(score=0.9), atol=0.0) is None
    assert "cannot swap them" in str(TASK.agree(answer(), answer("부정", 0.6), atol=0.01))


@pytest.mark.parametrize(("num_tokens", "truncated"), [(13, False), (12, True)])
def test_a_text_split_into_other_tokens_does_not_agree(num_tokens: int, truncated: bool) -> None:
    difference = TASK.agree(answer(), answer(num_tokens=num_tokens, truncated=truncated), atol=1.0)
    assert "the text was split into other tokens" in str(difference)


def test_texts_are_classified_by_this_task() -> None:
    assert TASKS["text-classification"] is TextClassificationTask
