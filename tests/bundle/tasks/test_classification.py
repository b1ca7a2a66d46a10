"""Scores become labels, in the same order for every engine."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic import ValidationError

from bundle.preprocess import ImageResize, ImageSource
from bundle.tasks import TASKS
from bundle.tasks.classification import (
    MAX_GOLDEN_LABELS,
    Classification,
    ClassificationDecode,
    ClassificationOptions,
    ClassificationTask,
    LabelScore,
)
from bundle.tensors import Tensors, TensorSpec

LAW = settings(derandomize=True, deadline=None, max_examples=300)
LABELS = ("cat", "dog", "owl", "elk")
SOURCE = ImageSource(height_px=1, width_px=1)


def task(labels: tuple[str, ...] = LABELS, default_top_k: int = 5) -> ClassificationTask:
    return ClassificationTask(ClassificationDecode(labels=labels, default_top_k=default_top_k))


def row(*scores: float) -> Tensors:
    return {"scores": np.array(scores, np.float32)}


def labels_of(answer: Classification) -> list[str]:
    return [entry.label for entry in answer.top_k]


def answer(label: str, score: float, **others: float) -> Classification:
    """An answer whose list holds the best label and then others."""
    return Classification(
        label, score, (LabelScore(label, score), *(LabelScore(other, of) for other, of in others.items()))
    )


def test_labels_are_listed_by_falling_score() -> None:
    got = task().decode(row(0.1, 0.5, 0.05, 0.35), SOURCE, ClassificationOptions())
    assert labels_of(got) == ["dog", "elk", "cat", "owl"]
    assert (got.label, got.score) == ("dog", 0.5)


def test_equal_scores_keep_the_order_of_the_labels() -> None:
    got = task().decode(row(0.25, 0.25, 0.25, 0.25), SOURCE, ClassificationOptions())
    assert labels_of(got) == list(LABELS)


def test_as_many_labels_as_asked_for_are_listed() -> None:
    got = task().decode(row(0.1, 0.5, 0.05, 0.35), SOURCE, ClassificationOptions(top_k=2))
    assert labels_of(got) == ["dog", "elk"]


def test_more_labels_than_there_are_lists_all() -> None:
    assert len(task().decode(row(0.1, 0.5, 0.05, 0.35), SOURCE, ClassificationOptions(top_k=1000)).top_k) == 4


def test_the_bundle_says_how_many_labels_are_listed_when_nobody_asks() -> None:
    assert len(task(default_top_k=3).decode(row(0.1, 0.5, 0.05, 0.35), SOURCE, ClassificationOptions()).top_k) == 3


@pytest.mark.parametrize("options", [{"top_k": 0}, {"top_k": -1}, {"top_k": "2"}, {"top_k": 1.5}, {"topk": 2}])
def test_options_that_mean_nothing_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, ClassificationOptions)


@given(st.integers(2, 30), st.data())
@LAW
def test_scores_fall_and_the_best_is_the_largest(num_labels: int, data: st.DataObject) -> None:
    scores = data.draw(arrays.arrays(np.float32, num_labels, elements=st.floats(0, 1, width=32)))
    top_k = data.draw(st.none() | st.integers(1, 40))
    labels = tuple(f"label {i}" for i in range(num_labels))
    got = task(labels).decode({"scores": scores}, SOURCE, ClassificationOptions(top_k=top_k))
    listed = [entry.score for entry in got.top_k]
    assert listed == sorted(scores.tolist(), reverse=True)[: top_k or 5]
    assert (got.label, got.score) == (labels[int(np.argmax(scores))], float(scores.max()))
    assert all(entry.score == scores[labels.index(entry.label)] for entry in got.top_k)


def test_an_answer_survives_json() -> None:
    got = task().decode(row(0.1, 0.5, 0.05, 0.35), SOURCE, ClassificationOptions())
    assert msgspec.json.decode(msgspec.json.encode(got), type=Classification) == got


def test_the_same_label_agrees_whatever_its_score() -> None:
    assert task().agree(answer("cat", 0.9, dog=0.1), answer("cat", 0.4, dog=0.3), atol=0.0) is None


def test_another_label_within_two_errors_is_a_tie() -> None:
    assert task().agree(answer("cat", 0.5, dog=0.375), answer("dog", 0.4), atol=0.0625) is None


def test_another_label_beyond_two_errors_is_told() -> None:
    difference = task().agree(answer("cat", 0.5, dog=0.25), answer("dog", 0.75), atol=0.0625)
    assert difference == (
        "expected 'cat' (0.5000), got 'dog' (0.7500; it had 0.2500), and an error of 0.0625 cannot swap them"
    )


def test_a_label_that_was_not_even_listed_does_not_agree() -> None:
    assert "got 'owl'" in str(task().agree(answer("cat", 0.5, dog=0.4), answer("owl", 0.5), atol=0.1))


def test_a_renamed_label_is_told_at_any_rank_where_all_were_recorded() -> None:
    scores = row(0.7, 0.2, 0.06, 0.04)
    recorded = task().decode(scores, SOURCE, task().golden_options())
    renamed = task(("cat", "dog", "owl", "moose"))
    differs = renamed.agree(recorded, renamed.decode(scores, SOURCE, renamed.golden_options()), 0.1)
    assert differs == "the label 'moose' was not among the labels when the answer was recorded"


def test_a_label_beyond_a_shortened_record_is_no_stranger() -> None:
    recorded = answer("cat", 0.6, dog=0.3)
    assert task().agree(recorded, answer("cat", 0.6, owl=0.3), 0.1) is None


def test_the_share_of_each_label_is_in_the_order_of_the_labels() -> None:
    results = [answer("owl", 0.95), answer("cat", 0.95), answer("owl", 0.95), answer("elk", 0.95)]
    assert task().summarise(results)["label_share"] == [0.25, 0.0, 0.5, 0.25]


def test_best_scores_are_counted_in_ten_equal_bins() -> None:
    results = [answer("cat", score) for score in (0.0, 0.05, 0.55, 1.0)]
    assert task().summarise(results)["score_histogram"] == [0.5, 0, 0, 0, 0, 0.25, 0, 0, 0, 0.25]


def test_a_score_that_rounding_put_above_one_is_counted_too() -> None:
    above_one = float(np.nextafter(np.float32(1), np.float32(2)))
    assert sum(task().summarise([answer("cat", above_one)])["score_histogram"]) == 1


def test_the_graph_must_give_one_score_a_label() -> None:
    expected = (TensorSpec(name="scores", dtype="float32", shape=("batch", 4)),)
    assert task().output_specs(ImageResize(height_px=8, width_px=8)) == expected


@pytest.mark.parametrize(("num_labels", "shown"), [(2, 2), (MAX_GOLDEN_LABELS, 100), (1000, 100)])
def test_a_golden_answer_shows_up_to_a_hundred_labels(num_labels: int, shown: int) -> None:
    assert task(tuple(map(str, range(num_labels)))).golden_options() == ClassificationOptions(top_k=shown)


@pytest.mark.parametrize(
    "parameters", [{"labels": ["one"]}, {"labels": ["a", ""]}, {"labels": ["a", "b"], "default_top_k": 0}]
)
def test_decode_parameters_that_mean_nothing_are_refused(parameters: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ClassificationDecode.model_validate(parameters)


def test_pictures_are_classified_by_this_task() -> None:
    assert TASKS["image-classification"] is ClassificationTask
