"""Sentence embedding: vectors as they are; how far apart two are; what was read of the text."""

import numpy as np
import pytest

from bundle.preprocess import TextSource
from bundle.tasks.sentence_embedding import (
    SentenceEmbedding,
    SentenceEmbeddingDecode,
    SentenceEmbeddingOptions,
    SentenceEmbeddingTask,
    distance,
)

TASK = SentenceEmbeddingTask(SentenceEmbeddingDecode(dim=2, normalised=True, pooling="mean"))


def answer(*vector: float, num_tokens: int = 5, truncated: bool = False) -> SentenceEmbedding:
    return SentenceEmbedding(vector, num_tokens, truncated)


def turned(degrees: float) -> SentenceEmbedding:
    return answer(float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees))))


def test_an_answer_is_the_vector_with_what_was_read_of_the_text() -> None:
    outputs = {"embedding": np.array([0.6, 0.8], np.float32)}
    got = TASK.decode(outputs, TextSource(num_tokens=7, truncated=True), SentenceEmbeddingOptions())
    assert got.embedding == pytest.approx((0.6, 0.8))
    assert (got.num_tokens, got.truncated) == (7, True)


def test_the_distance_of_vectors_of_length_one_is_one_less_their_cosine() -> None:
    for degrees in (0.0, 1.0, 30.0, 90.0, 180.0):
        one, other = (np.array(turned(angle).embedding) for angle in (10.0, 10.0 + degrees))
        assert distance(one, other) == pytest.approx(1 - np.cos(np.radians(degrees)), abs=1e-12)


def test_the_distance_sees_a_length_that_is_off() -> None:
    assert distance(np.array([3.0, 4.0]), np.array([6.0, 8.0])) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        ([1.0, 0.0], [1.0]),
        ([1.0, 0.0], [np.nan, 0.0]),
        ([1.0, 0.0], [np.inf, 0.0]),
        ([0.0, 0.0], [1.0, 0.0]),
        ([np.nan, 0.0], [np.nan, 0.0]),
    ],
)
def test_what_cannot_be_compared_is_infinitely_far(expected: list[float], got: list[float]) -> None:
    assert distance(np.array(expected), np.array(got)) == float("inf")


def test_nothing_is_at_no_distance_from_nothing() -> None:
    assert distance(np.zeros(2), np.zeros(2)) == 0.0


def test_answers_agree_up_to_the_limit_and_say_how_far_apart_they_are() -> None:
    one_degree = 1 - float(np.cos(np.radians(1)))
    assert TASK.agree(turned(0), turned(1), one_degree * 1.01) is None
    assert TASK.agree(turned(0), turned(1), 1e-4) == "the vectors are 0.000152 apart (1 - cosine), the limit is 0.0001"


@pytest.mark.parametrize("other", [answer(1.0, 0.0, num_tokens=6), answer(1.0, 0.0, truncated=True)])
def test_other_tokens_are_a_difference_whatever_the_vector(other: SentenceEmbedding) -> None:
    assert "the text was split into other tokens" in (TASK.agree(answer(1.0, 0.0), other, 1.0) or "")


def test_reference_statistics_tell_lengths_and_cuts() -> None:
    answers = [answer(1.0, 0.0, num_tokens=n, truncated=n > 512) for n in (1, 8, 9, 512, 513)]
    statistics = TASK.summarise(answers)
    assert statistics["token_share"] == pytest.approx([0.4, 0.2, 0, 0, 0, 0, 0.2, 0.2])
    assert statistics["truncated_share"] == pytest.approx([0.8, 0.2])
