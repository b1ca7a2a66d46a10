"""Rows become boxes in the input's own pixels; ties change places without anybody calling it a difference."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bundle.errors import RuntimeFailed
from bundle.preprocess import ImageResize, ImageSource
from bundle.tasks import TASKS
from bundle.tasks.detection import (
    DetectedObject,
    Detection,
    DetectionDecode,
    DetectionOptions,
    DetectionTask,
)
from bundle.tensors import Tensors

LAW = settings(derandomize=True, deadline=None, max_examples=200)
LABELS = ("cat", "dog")
ROWS = 6
SOURCE = ImageSource(height_px=100, width_px=200)
ALL = DetectionOptions(score_threshold=0.0)


def task(**changes: object) -> DetectionTask:
    settings = {"labels": LABELS, "default_score_threshold": 0.5, "max_detections": ROWS}
    return DetectionTask(DetectionDecode.model_validate(settings | {"score_floor": 0.05, "nms_iou": 0.6} | changes))


def outputs(*found: tuple[int, float, tuple[float, float, float, float]]) -> Tensors:
    """Rows of (label, score, box in 0..1), filled up with zeros."""
    boxes_xyxy, scores, labels = np.zeros((ROWS, 4)), np.zeros(ROWS), np.zeros(ROWS, np.int64)
    for i, (label, score, box) in enumerate(found):
        labels[i], scores[i], boxes_xyxy[i] = label, score, box
    return {
        "boxes_xyxy": boxes_xyxy.astype(np.float32),
        "scores": scores.astype(np.float32),
        "labels": labels,
        "num_detections": np.array(len(found)),
    }


CAT = (0, 0.75, (0.0, 0.0, 0.5, 0.5))
DOG = (1, 0.625, (0.25, 0.5, 1.0, 1.0))
FAINT = (0, 0.25, (0.5, 0.0, 0.75, 0.25))


def answer(*found: tuple[str, float, tuple[float, float, float, float]]) -> Detection:
    return Detection(tuple(DetectedObject(box, label, score) for label, score, box in found))


def test_boxes_are_in_the_pixels_of_the_picture_as_it_came() -> None:
    got = task().decode(outputs(CAT, DOG), SOURCE, ALL)
    assert got == answer(("cat", 0.75, (0, 0, 100, 50)), ("dog", 0.625, (50, 50, 200, 100)))


def test_what_scores_less_than_the_bundles_threshold_is_left_out_unless_asked_for() -> None:
    rows = outputs(CAT, DOG, FAINT)
    assert len(task().decode(rows, SOURCE, DetectionOptions()).detections) == 2
    assert len(task().decode(rows, SOURCE, DetectionOptions(score_threshold=0.2)).detections) == 3
    assert len(task().decode(rows, SOURCE, DetectionOptions(score_threshold=0.7)).detections) == 1


def test_a_score_of_just_the_threshold_is_listed() -> None:
    assert len(task().decode(outputs(CAT), SOURCE, DetectionOptions(score_threshold=0.75)).detections) == 1


def test_at_most_as_many_as_asked_for_and_the_best_of_them() -> None:
    got = task().decode(outputs(FAINT, CAT, DOG), SOURCE, DetectionOptions(score_threshold=0, max_detections=2))
    assert [found.score for found in got.detections] == [0.75, 0.625]


def test_more_than_there_are_lists_all() -> None:
    got = task().decode(outputs(CAT, DOG), SOURCE, DetectionOptions(score_threshold=0, max_detections=1000))
    assert len(got.detections) == 2


def test_rows_beyond_the_count_are_no_boxes() -> None:
    rows = outputs(CAT, DOG)
    rows["num_detections"] = np.array(1)
    assert [found.label for found in task().decode(rows, SOURCE, ALL).detections] == ["cat"]


def test_nothing_found_is_an_empty_answer() -> None:
    assert msgspec.json.encode(task().decode(outputs(), SOURCE, ALL)) == b'{"detections":[]}'


def test_boxes_are_cut_to_the_picture() -> None:
    got = task().decode(outputs((0, 0.9, (-0.5, -0.1, 1.5, 1.1))), SOURCE, ALL)
    assert got.detections[0].box_xyxy == (0, 0, 200, 100)


def test_an_answer_reads_well() -> None:
    got = task().decode(outputs((1, 0.5, (0.1, 0.2, 1 / 3, 2 / 3))), SOURCE, ALL)
    expected = b'{"detections":[{"box_xyxy":[20.0,20.0,66.6667,66.6667],"label":"dog","score":0.5}]}'
    assert msgspec.json.encode(got) == expected


def test_a_label_that_nobody_knows_is_refused() -> None:
    with pytest.raises(RuntimeFailed, match="label 2; the bundle has labels 0 to 1"):
        task().decode(outputs((2, 0.9, (0, 0, 1, 1))), SOURCE, ALL)


@pytest.mark.parametrize(
    "options",
    [
        {"score_threshold": -0.1},
        {"score_threshold": 1.1},
        {"score_threshold": float("nan")},
        {"max_detections": 0},
        {"format": "jpeg"},
        {"threshold": 0.5},
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, DetectionOptions)


@pytest.mark.parametrize(
    "parameters", [{"labels": []}, {"labels": [""]}, {"default_score_threshold": 2}, {"max_detections": 0}]
)
def test_decode_parameters_that_mean_nothing_are_refused(parameters: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DetectionDecode.model_validate({"labels": ["a"]} | parameters)


@given(st.integers(0, 10**6), st.floats(0, 1), st.integers(1, 10))
@LAW
def test_scores_fall_and_boxes_lie_in_the_picture(seed: int, threshold: float, most: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, ROWS + 1))
    rows = outputs(*[(int(rng.integers(2)), rng.random(), tuple(rng.uniform(-0.2, 1.2, 4))) for _ in range(count)])
    got = task().decode(rows, SOURCE, DetectionOptions(threshold, most)).detections
    scores = [found.score for found in got]
    assert (
        scores
        == sorted((score for score in rows["scores"][:count].tolist() if score >= threshold), reverse=True)[:most]
    )
    for found in got:
        assert all(0 <= value <= limit for value, limit in zip(found.box_xyxy, (200, 100, 200, 100), strict=True))


def test_the_order_of_rows_is_no_difference() -> None:
    differences = task().differences(outputs(CAT, DOG, FAINT), outputs(FAINT, CAT, DOG))
    assert differences == {"boxes_xyxy": 0, "scores": 0, "labels": 0, "num_detections": 0}


def test_differences_are_in_shares_of_a_side_and_of_a_score() -> None:
    moved = (0, 0.75 + 0.125, (0.0, 0.0, 0.5, 0.5 + 0.0625))
    differences = task().differences(outputs(CAT, DOG), outputs(moved, DOG))
    assert differences == {"boxes_xyxy": 0.0625, "scores": 0.125, "labels": 0, "num_detections": 0}


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("scores", np.full(ROWS, np.nan, np.float32)),
        ("boxes_xyxy", np.full((ROWS, 4), np.inf, np.float32)),
        ("labels", np.full(ROWS, 5)),
        ("num_detections", np.array(1)),
    ],
)
def test_a_graph_that_is_broken_is_infinitely_different(name: str, broken: np.ndarray) -> None:
    fine = outputs(CAT, DOG)
    assert task().differences(fine, fine | {name: broken})[name] == np.inf


def test_other_shapes_are_infinitely_different() -> None:
    fine = outputs(CAT)
    assert set(task().differences(fine, fine | {"scores": fine["scores"][:3]}).values()) == {np.inf}


BOX, NEAR, FAR = (0, 0, 100, 50), (5, 0, 105, 50), (60, 0, 160, 50)


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        ([("cat", 0.9, BOX)], [("cat", 0.6, BOX)]),
        ([("cat", 0.9, BOX)], [("cat", 0.9, NEAR)]),
        ([("cat", 0.9, BOX), ("cat", 0.2, FAR)], [("cat", 0.9, BOX)]),
        ([("cat", 0.9, BOX), ("dog", 0.9, BOX)], [("dog", 0.9, BOX), ("cat", 0.9, BOX)]),
        ([("cat", 0.505, BOX)], []),
        ([], []),
    ],
    ids=["score", "overlap", "not shown by default", "order", "tie with the threshold", "nothing"],
)
def test_answers_that_are_the_same_to_a_user(expected: list, got: list) -> None:
    assert task().agree(answer(*expected), answer(*got), atol=0.01) is None
    assert task().agree(answer(*got), answer(*expected), atol=0.01) is None


@pytest.mark.parametrize(
    ("expected", "got", "says"),
    [
        ([("cat", 0.9, BOX)], [], "none of that label there"),
        ([("cat", 0.9, BOX)], [("dog", 0.9, BOX)], "expected 'cat'"),
        ([("cat", 0.9, BOX)], [("cat", 0.9, FAR)], r"overlap 0\.25"),
        ([("cat", 0.9, BOX)], [("cat", 0.4, BOX)], r"0\.4000"),
        ([], [("cat", 0.9, BOX)], "got 'cat'"),
        ([("cat", 0.9, BOX)], [("moose", 0.9, BOX)], "'moose' is not among the labels"),
    ],
    ids=["missing", "label", "place", "score", "too many", "stranger"],
)
def test_answers_that_differ_say_how(expected: list, got: list, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(task().agree(answer(*expected), answer(*got), atol=0.01))


def test_one_that_won_by_a_hair_stands_for_the_other() -> None:
    beside = (0, 0, 100, 80)  # overlaps the other by 0.63: one suppresses the other
    assert task().agree(answer(("cat", 0.9, BOX)), answer(("cat", 0.905, beside)), atol=0.01) is None
    assert task().agree(answer(("cat", 0.9, BOX)), answer(("cat", 0.7, beside)), atol=0.01) is not None


def test_statistics_are_of_what_is_shown_by_default() -> None:
    results = [
        answer(("cat", 0.95, BOX), ("cat", 0.55, FAR), ("dog", 0.95, BOX), ("dog", 0.1, FAR)),
        answer(("cat", 0.95, BOX)),
        answer(),
        answer(("dog", 0.2, BOX)),
    ]
    statistics = task().summarise(results)
    assert statistics["label_share"] == [0.75, 0.25]
    assert statistics["score_histogram"] == [0, 0, 0, 0, 0, 0.25, 0, 0, 0, 0.75]
    assert statistics["count_histogram"] == [0.5, 0.25, 0, 0.25, 0, 0, 0, 0]


def test_statistics_of_nothing_found_are_shares_too() -> None:
    assert all(sum(values) == pytest.approx(1) for values in task().summarise([answer(), answer()]).values())


def test_the_golden_answer_shows_all_that_the_graph_gives() -> None:
    assert task().golden_options() == DetectionOptions(score_threshold=0.0, max_detections=ROWS)


def test_the_graph_must_give_boxes_scores_labels_and_their_count() -> None:
    specs = task().output_specs(ImageResize(height_px=8, width_px=8))
    assert [str(spec) for spec in specs] == [
        "boxes_xyxy: float32 ['batch', 6, 4]",
        "scores: float32 ['batch', 6]",
        "labels: int64 ['batch', 6]",
        "num_detections: int64 ['batch']",
    ]


def test_objects_are_found_by_this_task() -> None:
    assert TASKS["object-detection"] is DetectionTask
