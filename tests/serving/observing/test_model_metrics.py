from pathlib import Path

import pytest

from runtime.choice import Choice
from serving.batching.call import PHASES
from serving.observing.metrics import Metrics
from serving.observing.process_metrics import PROCESS_FAMILIES
from tests.engine_records import GPU
from tests.serving.figures import Queue, shown


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def choice(artefact: str, runtime: str, fell_back: str = "") -> Choice:
    return Choice(artefact, artefact, runtime, Path("model"), 0.0, GPU, None, fell_back=fell_back)


def test_what_a_version_runs_as_shows_once_and_a_fallback_until_it_ends(metrics: Metrics) -> None:
    metrics.model_runs("m", 1, choice("fp32", "onnxruntime", fell_back="nothing is proven"))
    figures = shown(metrics)
    assert figures["modelyard_model_info"] == {("fp32", "NVIDIA Q100", "m", "fp32", "onnxruntime", "1"): 1}
    assert figures["modelyard_engine_fallback"] == {("m", "1"): 1}
    metrics.model_runs("m", 1, choice("fp16", "tensorrt"))
    figures = shown(metrics)
    assert figures["modelyard_model_info"] == {("fp16", "NVIDIA Q100", "m", "fp16", "tensorrt", "1"): 1}
    assert figures["modelyard_engine_fallback"] == {("m", "1"): 0}


def test_a_version_that_is_gone_runs_as_nothing(metrics: Metrics) -> None:
    for version in (1, 2):
        metrics.model_runs("m", version, choice("fp32", "onnxruntime", fell_back="why"))
    metrics.forget("m", 1)
    figures = shown(metrics)
    assert figures["modelyard_model_info"] == {("fp32", "NVIDIA Q100", "m", "fp32", "onnxruntime", "2"): 1}
    assert figures["modelyard_engine_fallback"] == {("m", "2"): 1}


def test_an_answered_request_shows_in_every_phase_and_in_its_inputs(metrics: Metrics) -> None:
    metrics.model("m", 1).answered(dict.fromkeys(PHASES, 0.25), rows=3, seconds=1.5)
    figures = shown(metrics)
    assert figures["modelyard_phase_seconds_count"] == {("m", phase): 1 for phase in PHASES}
    assert figures["modelyard_phase_seconds_sum"] == {("m", phase): 0.25 for phase in PHASES}
    assert figures["modelyard_instances_total"] == {("m",): 3}
    assert figures["modelyard_version_requests_total"] == {("m", "success", "1"): 1}
    assert figures["modelyard_version_request_seconds_total"] == {("m", "success", "1"): 1.5}


def test_a_failed_request_shows_the_phases_that_it_reached_and_its_reason(metrics: Metrics) -> None:
    model = metrics.model("m", 1)
    model.failed("bad_input", {"parse": 0.1}, 0.2)
    model.failed("overloaded", {}, 0.0)
    model.failed("overloaded", {}, 0.0)
    figures = shown(metrics)
    assert figures["modelyard_phase_seconds_count"] == {("m", "parse"): 1}
    assert figures["modelyard_failures_total"] == {("m", "bad_input"): 1, ("m", "overloaded"): 2}
    assert figures["modelyard_version_requests_total"] == {("m", "failure", "1"): 3}
    assert "modelyard_instances_total" not in figures


def test_batches_are_counted_by_their_size(metrics: Metrics) -> None:
    model = metrics.model("m", 1)
    for size in (1, 3, 3, 200):
        model.batch(size, 0.5)
    figures = shown(metrics)
    assert figures["modelyard_batches_total"] == {("m",): 4}
    assert figures["modelyard_batch_rows_sum"] == {("m",): 207}
    buckets = {le: count for (le, _), count in figures["modelyard_batch_rows_bucket"].items()}
    assert (buckets["1.0"], buckets["2.0"], buckets["4.0"], buckets["128.0"], buckets["+Inf"]) == (1, 1, 3, 3, 4)
    assert figures["modelyard_version_batches_total"] == {("m", "1", "1"): 1, ("m", "3", "1"): 2, ("m", "200", "1"): 1}
    assert figures["modelyard_version_batch_seconds_total"][("m", "3", "1")] == 1


@pytest.mark.parametrize(
    ("happens", "family"),
    [
        ("shed", "modelyard_shed_total"),
        ("deadline_drop", "modelyard_deadline_drops_total"),
        ("gone_drop", "modelyard_client_gone_drops_total"),
        ("golden_failure", "modelyard_golden_failures_total"),
        ("out_of_memory", "modelyard_out_of_memory_total"),
    ],
)
def test_what_can_happen_is_counted_from_zero(metrics: Metrics, happens: str, family: str) -> None:
    model = metrics.model("m", 1)
    assert shown(metrics)[family] == {("m",): 0}
    for _ in range(2):
        getattr(model, happens)()
    assert shown(metrics)[family] == {("m",): 2}


def test_gauges_are_sums_over_the_queues_of_a_model(metrics: Metrics) -> None:
    old, new = Queue(2), Queue(3, in_flight=4)
    metrics.model("m", 1).join(old)
    metrics.model("m", 2).join(new)
    assert shown(metrics)["modelyard_queue_depth"] == {("m",): 5}
    old.queue_depth = 0
    assert shown(metrics)["modelyard_queue_depth"] == {("m",): 3}
    assert shown(metrics)["modelyard_in_flight"] == {("m",): 4}
    assert shown(metrics)["modelyard_queue_limit"] == {("m",): 32}


def test_a_queue_that_is_no_longer_there_counts_for_nothing(metrics: Metrics) -> None:
    queue = Queue(7)
    metrics.model("m", 1).join(queue)
    assert shown(metrics)["modelyard_queue_depth"] == {("m",): 7}
    del queue
    assert shown(metrics)["modelyard_queue_depth"] == {("m",): 0}


def test_a_version_that_was_loaded_again_is_not_forgotten(metrics: Metrics) -> None:
    again = Queue()
    metrics.model("m", 1).join(again)
    metrics.model_ready("m", 1, ready=True)
    metrics.forget("m", 1)
    assert shown(metrics)["modelyard_model_ready"] == {("m", "1"): 1}


def test_scraping_again_adds_nothing(metrics: Metrics) -> None:
    model = metrics.model("m", 1)
    model.answered({"compute": 0.1}, 1, 0.1)
    model.batch(1, 0.1)
    metrics.count_request("/r", 200, 0.1)
    first, second = shown(metrics), shown(metrics)
    assert first.keys() == second.keys()
    assert [name for name in first.keys() - PROCESS_FAMILIES.keys() if first[name] != second[name]] == []


def test_a_version_that_is_gone_takes_its_series_and_leaves_the_models(metrics: Metrics) -> None:
    for version in (1, 2):
        metrics.model_ready("m", version, ready=True)
        metrics.model("m", version).answered({"compute": 0.1}, 1, 0.1)
        metrics.model("m", version).batch(1, 0.1)
    metrics.forget("m", 1)
    figures = shown(metrics)
    assert figures["modelyard_model_ready"] == {("m", "2"): 1}
    assert figures["modelyard_version_requests_total"] == {("m", "success", "2"): 1}
    assert figures["modelyard_instances_total"] == {("m",): 2}


def test_hundreds_of_reloads_leave_no_series_behind(metrics: Metrics) -> None:
    sizes = set()
    for version in range(1, 300):
        metrics.model_ready("m", version, ready=True)
        metrics.model("m", version).answered(dict.fromkeys(PHASES, 0.1), 1, 0.6)
        metrics.forget("m", version)
        sizes.add(sum(len(family) for family in shown(metrics).values()))
    assert len(sizes) == 1


def test_a_version_on_trial_is_counted_by_what_it_answers(metrics: Metrics) -> None:
    model = metrics.model("m", 2)
    model.canary(agrees=True)
    model.canary(agrees=False)
    model.canary_failure()
    figures = shown(metrics)
    assert figures["modelyard_canary_requests_total"] == {("m", "2"): 2}
    assert figures["modelyard_canary_disagreements_total"] == {("m", "2"): 1}
    assert figures["modelyard_canary_failures_total"] == {("m", "2"): 1}


def test_a_phase_that_nobody_knows_is_a_mistake_of_ours(metrics: Metrics) -> None:
    with pytest.raises(KeyError, match="sleep"):
        metrics.model("m", 1).phase("sleep", 0.1)
