"""How a model is laid out, by its latency table and its settings."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bundle.evidence import Evidence, Latency
from bundle.preprocess import Limits
from bundle.store import open_bundle
from serving.batching.engines import ALL_PROCESSORS
from serving.batching.lanes import Lanes
from serving.batching.layout import HERE_BATCH_MS, is_small, preferred_batch_size, wide_pays
from serving.batching.placing import Placing
from serving.observing.drift import Drift
from serving.observing.metrics import Metrics
from serving.repository.model_settings import ModelSettings
from serving.repository.served import ServedModel, Serving
from tests.builders import passed_evidence, write_fake_bundle


def table_of(by_size: dict[int, float]) -> Latency:
    return Latency(threads=1, median_ms=by_size)


def evidence(table: dict[int, float], parallel: dict[int, float] | None = None) -> Evidence:
    changes: dict[str, Any] = {"latency": Latency(threads=1, median_ms=table)}
    if parallel:
        changes["parallel"] = Latency(threads=2, median_ms=parallel)
    return passed_evidence("0" * 64).model_copy(update=changes)


@pytest.mark.parametrize(
    ("table", "size"),
    [
        ({1: 10.2, 8: 77.4, 32: 321.0}, 1),  # a picture network: company gains nothing
        ({1: 4.6, 8: 24.5, 32: 112.0}, 8),  # an encoder of texts: a third up to 8, nothing beyond
        ({1: 0.01, 8: 0.02, 32: 0.05}, 32),  # all that costs is the call
        ({1: 5.0}, 64),  # nothing is known
        ({}, 64),
    ],
)
def test_batches_grow_as_long_as_that_makes_rows_cheaper(table: dict[int, float], size: int) -> None:
    assert preferred_batch_size(table_of(table), 64) == size


def test_on_the_event_loop_no_batch_may_take_long() -> None:
    table = {1: 0.2, 8: 1.0, 32: 3.0}
    assert preferred_batch_size(table_of(table), 64) == 32
    assert preferred_batch_size(table_of(table), 64, HERE_BATCH_MS) == 8
    assert preferred_batch_size(table_of({1: 5.0, 8: 9.0}), 64, HERE_BATCH_MS) == 1


@pytest.mark.parametrize(("one", "several", "threads", "pays"), [
    (10.0, 6.0, 2, True),
    (10.0, 9.5, 2, False),
    (10.0, 6.0, 1, False),  # measured with more processors than there are here
])  # fmt: skip
def test_all_processors_go_to_one_batch_where_that_is_much_faster(
    one: float, several: float, threads: int, pays: bool
) -> None:
    assert wide_pays(table_of({1: one}), Latency(threads=2, median_ms={1: several}), threads) == pays


def test_what_was_never_measured_pays_nothing() -> None:
    assert not wide_pays(table_of({1: 10.0}), None, 2)
    assert not wide_pays(None, None, 2)
    assert not is_small(None, 0.3)
    assert not is_small(table_of({8: 0.1}), 0.3)


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    lanes = Lanes(2)
    yield lanes
    lanes.close()


def served(folder: Path, lanes: Lanes, settings: ModelSettings, **changes: Any) -> ServedModel:
    artefacts = open_bundle(write_fake_bundle(folder, "first")).manifest.artefacts
    table = evidence({1: 10.0, 8: 70.0}, {1: 5.0, 8: 40.0})
    proof = table.model_copy(update={"sha256": artefacts["fp32"].evidence.sha256})  # type: ignore[union-attr]
    made = {"fp32": artefacts["fp32"].model_copy(update={"evidence": proof})}
    bundle = open_bundle(write_fake_bundle(folder, "second", artefacts=made))
    metrics = Metrics()
    return ServedModel(bundle, settings, Serving(Placing(), Limits(), lanes, metrics, Drift(metrics), **changes))


def test_by_itself_a_model_gets_an_engine_for_each_end_of_the_load(tmp_path: Path, lanes: Lanes) -> None:
    model = served(tmp_path, lanes, ModelSettings())
    assert list(model.engines.loaded) == ["cpu", ALL_PROCESSORS]
    assert (model.policy.instances, model.policy.here) == (2, False)


@pytest.mark.parametrize("how", ["of the service", "of the model"])
def test_for_throughput_no_batch_gets_more_than_one_processor(tmp_path: Path, lanes: Lanes, how: str) -> None:
    settings = ModelSettings(layout="throughput") if how == "of the model" else ModelSettings()
    changes = {"layout": "throughput"} if how == "of the service" else {}
    model = served(tmp_path, lanes, settings, **changes)
    assert (list(model.engines.loaded), model.policy.instances) == (["cpu"], 2)


def test_for_latency_one_batch_at_a_time_gets_all_processors(tmp_path: Path, lanes: Lanes) -> None:
    model = served(tmp_path, lanes, ModelSettings(layout="latency"))
    assert (list(model.engines.loaded), model.policy.instances) == (["cpu"], 1)


def test_a_model_never_gets_more_than_there_is(tmp_path: Path, lanes: Lanes) -> None:
    model = served(tmp_path, lanes, ModelSettings(instances=64, threads=64, max_batch_size=1000, max_queue=7))
    assert (model.policy.instances, model.policy.max_queue) == (2, 7)
    assert model.policy.max_batch_size == model.manifest.max_batch_size
    assert model.batch_ladder[-1] == model.policy.largest


def test_the_ladder_doubles_up_to_the_largest_batch_that_is_run(tmp_path: Path, lanes: Lanes) -> None:
    model = served(tmp_path, lanes, ModelSettings(max_batch_size=3))
    assert model.batch_ladder == ((1, 2, 3) if model.policy.largest == 3 else (1,))
