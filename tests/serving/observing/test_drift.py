import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bundle.preprocess import PREPARE, ImageSource, Prepared, Series, SeriesSource
from bundle.store import open_bundle
from bundle.tasks.series_anomaly import SeriesAnomalyDecode
from bundle.tensors import Tensors
from runtime.predictor import Predictor, load_predictor
from serving.observing.drift import BLOCK, MAX_WAITING, NUM_BLOCKS, Drift, Watch
from serving.observing.input_statistics import KINDS
from serving.observing.metrics import Metrics
from serving.observing.psi import NOTABLE, SERIOUS
from tests.builders import write_fake_bundle, write_fake_task_bundle
from tests.serving.figures import shown

REFERENCE = {"label_share": [0.6, 0.3, 0.1], "score_histogram": [0, 0, 0, 0, 0, 0, 0, 0, 0, 1.0]}
PSI = "modelyard_drift_psi"

pytestmark = pytest.mark.anyio


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        self.now_s += 1.0
        return self.now_s


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    return load_predictor(open_bundle(write_fake_bundle(tmp_path, reference=REFERENCE)))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def row(label: int) -> Tensors:
    scores = np.full(3, 0.02, np.float32)
    scores[label] = 0.96
    return {"scores": scores}


def picture(value: int = 100) -> Prepared:
    return Prepared({"image": np.full((8, 8, 3), value, np.uint8)}, ImageSource(20, 30))


async def feed(drift: Drift, watch: Watch, labels: Sequence[int], value: int = 100) -> None:
    """Answers one after the other, counted before the waiting ones overflow."""
    for i, label in enumerate(labels):
        watch.offer([row(label)], [picture(value)])
        if i % MAX_WAITING == MAX_WAITING - 1:
            await drift.update()
    await drift.update()


def labels_of(shares: Sequence[float], number: int) -> list[int]:
    return np.random.default_rng(0).choice(len(shares), number, p=shares).tolist()


async def test_traffic_like_the_test_split_has_an_index_near_zero(predictor: Predictor, metrics: Metrics) -> None:
    drift = Drift(metrics, now_s=Clock())
    await feed(drift, drift.watch(predictor), labels_of(REFERENCE["label_share"], 400))
    figures = shown(metrics)[PSI]
    assert figures.keys() == {("fake", "label_share"), ("fake", "score_histogram")}
    assert all(index < NOTABLE / 2 for index in figures.values())


async def test_other_answers_than_on_the_test_split_are_serious_and_logged_once(
    predictor: Predictor, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    drift = Drift(metrics, now_s=Clock())
    with caplog.at_level(logging.WARNING, "modelyard.drift"):
        await feed(drift, drift.watch(predictor), labels_of([0.1, 0.1, 0.8], 400))
    assert shown(metrics)[PSI]["fake", "label_share"] > SERIOUS
    assert shown(metrics)[PSI]["fake", "score_histogram"] < NOTABLE
    assert [record.getMessage().count("label_share") for record in caplog.records] == [1]


async def test_too_few_samples_show_no_index(predictor: Predictor, metrics: Metrics) -> None:
    drift = Drift(metrics, now_s=Clock())
    await feed(drift, drift.watch(predictor), [2] * 99)
    assert PSI not in shown(metrics)
    assert shown(metrics)["modelyard_drift_samples"] == {("fake",): 99}


async def test_the_window_forgets_what_is_long_ago(predictor: Predictor, metrics: Metrics) -> None:
    drift = Drift(metrics, now_s=Clock())
    watch = drift.watch(predictor)
    await feed(drift, watch, [2] * 200)
    assert shown(metrics)[PSI]["fake", "label_share"] > SERIOUS
    await feed(drift, watch, labels_of(REFERENCE["label_share"], BLOCK * NUM_BLOCKS))
    assert shown(metrics)[PSI]["fake", "label_share"] < NOTABLE
    assert BLOCK * (NUM_BLOCKS - 1) <= shown(metrics)["modelyard_drift_samples"]["fake",] <= BLOCK * NUM_BLOCKS


async def test_of_heavy_traffic_two_answers_a_second_are_kept(predictor: Predictor, metrics: Metrics) -> None:
    now = [0.0]
    drift = Drift(metrics, now_s=lambda: now[0])
    watch = drift.watch(predictor)
    for _ in range(10_000):  # in 100 seconds
        now[0] += 0.01
        watch.offer([row(0)], [picture()])
        if len(watch._waiting) == MAX_WAITING - 1:
            await drift.update()
    await drift.update()
    assert 170 < shown(metrics)["modelyard_drift_samples"]["fake",] < 230


async def test_nobody_counting_keeps_no_more_than_a_few_answers(predictor: Predictor, metrics: Metrics) -> None:
    watch = Drift(metrics, now_s=Clock()).watch(predictor)
    for _ in range(10 * MAX_WAITING):
        watch.offer([row(0)], [picture()])
    assert len(watch._waiting) == MAX_WAITING


async def test_what_is_kept_is_a_copy_and_holds_no_batch(predictor: Predictor, metrics: Metrics) -> None:
    batch = np.full((64, 3), 1 / 3, np.float32)
    watch = Drift(metrics, now_s=Clock()).watch(predictor)
    watch.offer([{"scores": batch[0]}], [picture()])
    outputs, prepared = watch._waiting[0]
    assert outputs["scores"].base is None
    assert prepared.tensors["image"].base is None


async def test_inputs_that_came_as_tensors_are_counted_too(predictor: Predictor, metrics: Metrics) -> None:
    drift = Drift(metrics, now_s=Clock())
    watch = drift.watch(predictor)
    watch.offer([row(0)], [Prepared(picture().tensors, None)])  # type: ignore[arg-type]
    await drift.update()
    assert shown(metrics)["modelyard_drift_samples"] == {("fake",): 1}


async def test_an_answer_that_cannot_be_counted_ends_nothing(
    predictor: Predictor, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    drift = Drift(metrics, now_s=Clock())
    watch = drift.watch(predictor)
    for _ in range(3):
        watch.offer([{"nothing": np.zeros(3)}], [picture()])
    watch.offer([row(0)], [picture()])
    await drift.update()
    assert shown(metrics)["modelyard_drift_samples"] == {("fake",): 1}
    assert len(caplog.records) == 1


async def test_brightness_is_shown_as_mean_and_histogram(predictor: Predictor, metrics: Metrics) -> None:
    drift = Drift(metrics, now_s=Clock())
    watch = drift.watch(predictor)
    await feed(drift, watch, [0] * 3, value=100)
    await feed(drift, watch, [0], value=20)
    figures = shown(metrics)
    assert figures["modelyard_input"] == {("fake", "brightness"): 80}
    assert figures["modelyard_input_brightness_count"] == {("fake",): 4}
    assert figures["modelyard_input_brightness_bucket"]["32.0", "fake"] == 1


async def test_of_several_versions_the_one_that_is_asked_most_is_shown(tmp_path: Path, metrics: Metrics) -> None:
    drift = Drift(metrics, now_s=Clock())
    live, trial = (
        drift.watch(load_predictor(open_bundle(write_fake_bundle(tmp_path, reference=REFERENCE, version=version))))
        for version in (1, 2)
    )
    await feed(drift, live, [0] * 10)
    await feed(drift, trial, [0] * 5)
    assert shown(metrics)["modelyard_drift_samples"] == {("fake",): 10}
    drift.unwatch(live)
    await feed(drift, trial, [0])
    assert shown(metrics)["modelyard_drift_samples"] == {("fake",): 6}


async def test_a_model_that_is_gone_takes_its_gauges_along(predictor: Predictor, metrics: Metrics) -> None:
    drift = Drift(metrics, now_s=Clock())
    watch = drift.watch(predictor)
    await feed(drift, watch, [0] * 200)
    drift.unwatch(watch)
    assert not {PSI, "modelyard_drift_samples", "modelyard_input"} & shown(metrics).keys()


def test_every_kind_of_input_has_its_figures() -> None:
    assert KINDS.keys() == PREPARE.keys()


@pytest.mark.parametrize(
    ("kind", "tensors", "expected"),
    [
        ("image-resize", {"image": np.array([[[0, 100, 200]]], np.uint8)}, {"brightness": 100.0}),
        ("text-tokens", {"attention_mask": np.array([1, 1, 1, 0], np.int64)}, {"tokens": 3.0}),
        ("series", {"series": np.array([1.0, 3.0], np.float32)}, {"mean": 2.0, "spread": 1.0}),
    ],
)
def test_figures_of_an_input(kind: str, tensors: Tensors, expected: dict[str, float]) -> None:
    assert KINDS[kind].statistics(tensors) == expected


async def test_a_series_of_any_bits_does_not_spoil_the_means(tmp_path: Path, metrics: Metrics) -> None:
    folder = write_fake_task_bundle(
        tmp_path,
        "fake",
        "series-anomaly-detection",
        Series(num_steps=2),
        SeriesAnomalyDecode(),
        [("text/csv", b"1,2")],
    )
    drift = Drift(metrics, now_s=Clock())
    watch = drift.watch(load_predictor(open_bundle(folder)))
    outputs = {"anomaly_score": np.array(0.1, np.float32), "errors": np.zeros(2, np.float32)}
    for values in ([1.0, 3.0], [np.inf, 1.0], [np.nan, 0.0], [3e38, -3e38]):
        watch.offer([outputs], [Prepared({"series": np.array(values, np.float32)}, SeriesSource(2))])
    await drift.update()
    assert shown(metrics)["modelyard_drift_samples"] == {("fake",): 2}
    assert shown(metrics)["modelyard_input"]["fake", "mean"] == 1
