import time

from serving.observing.metrics import Metrics
from serving.observing.statistics import statistics


def test_a_version_that_nobody_asked_has_zeros() -> None:
    zero = {"count": 0, "ns": 0}
    words = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")
    assert statistics(Metrics(), [("m", 1)]) == [
        {
            "name": "m",
            "version": "1",
            "last_inference": 0,
            "inference_count": 0,
            "execution_count": 0,
            "inference_stats": dict.fromkeys(words, zero),
            "batch_stats": [],
        }
    ]


def test_inference_count_is_of_inputs_and_execution_count_of_batches() -> None:
    metrics = Metrics()
    model = metrics.model("m", 1)
    model.answered({}, 5, 0.1)
    model.answered({}, 3, 0.1)
    model.batch(4, 0.01)
    model.batch(4, 0.02)
    (found,) = statistics(metrics, [("m", 1)])
    assert (found["inference_count"], found["execution_count"]) == (8, 2)
    assert [(one["batch_size"], one["compute_infer"]) for one in found["batch_stats"]] == [
        (4, {"count": 2, "ns": 30_000_000})
    ]


def test_batch_sizes_come_in_their_order() -> None:
    metrics = Metrics()
    for size in (16, 2, 1):
        metrics.model("m", 1).batch(size, 0.01)
    assert [one["batch_size"] for one in statistics(metrics, [("m", 1)])[0]["batch_stats"]] == [1, 2, 16]


def test_durations_are_integers_of_nanoseconds_by_the_protocols_words() -> None:
    metrics = Metrics()
    phases = {"parse": 1e-3, "prepare": 2e-3, "queue": 3e-3, "compute": 4e-3, "decode": 5e-3, "encode": 6e-3}
    metrics.model("m", 1).answered(phases, 1, 25e-3)
    metrics.model("m", 1).failed("bad_input", {"parse": 1e-3}, 1e-3)
    (found,) = statistics(metrics, [("m", 1)])
    durations = {word: (one["count"], one["ns"]) for word, one in found["inference_stats"].items()}
    assert durations == {
        "success": (1, 25_000_000),
        "fail": (1, 1_000_000),
        "queue": (1, 3_000_000),
        "compute_input": (1, 2_000_000),
        "compute_infer": (1, 4_000_000),
        "compute_output": (1, 11_000_000),
        "cache_hit": (0, 0),
        "cache_miss": (0, 0),
    }
    assert all(type(number) is int for one in found["inference_stats"].values() for number in one.values())


def test_the_last_inference_is_in_milliseconds() -> None:
    metrics = Metrics()
    before_ms = time.time() * 1000
    metrics.model("m", 1).answered({}, 1, 0.1)
    assert before_ms - 1 <= statistics(metrics, [("m", 1)])[0]["last_inference"] <= time.time() * 1000 + 1


def test_versions_are_told_apart() -> None:
    metrics = Metrics()
    metrics.model("m", 1).answered({}, 1, 0.1)
    metrics.model("m", 2).answered({}, 2, 0.1)
    metrics.model("n", 1).answered({}, 4, 0.1)
    found = statistics(metrics, [("n", 1), ("m", 2)])
    assert [(one["name"], one["version"], one["inference_count"]) for one in found] == [("n", "1", 4), ("m", "2", 2)]
