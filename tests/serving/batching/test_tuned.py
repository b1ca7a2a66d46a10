"""The service follows the tuning of its device, after serving.toml and flags; where it cannot, it says why."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bundle.device import DeviceInfo
from bundle.errors import BundleError
from bundle.preprocess import Limits
from bundle.store import Bundle, open_bundle
from bundle.tuning import Tuning, read_tuning
from modelyard import main
from runtime.choice import Wanted
from runtime.cpus import available_cpus
from runtime.devices import device_info, installed_version
from runtime.runtime import ON_CPU, Placement
from serving.batching.engines import ALL_PROCESSORS
from serving.batching.lanes import Lanes
from serving.batching.placing import Devices, Placing
from serving.observing.drift import Drift
from serving.observing.metrics import Metrics
from serving.repository.model_settings import ModelSettings
from serving.repository.served import ServedModel, Serving
from serving.settings import Settings
from tests.builders import write_fake_bundle
from tests.serving.onnx_bundles import write_onnx_bundle
from tests.serving.repositories import POLL_S, ask, kept
from tests.serving.running import started
from tests.tunings import damage_tuning, point, tune_as

CPU = DeviceInfo(kind="cpu", name="Invented 9000", num_cpus=4)
Serve = Callable[..., ServedModel]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Batches of up to 32; fp32 and a twin of it."""
    like = open_bundle(write_fake_bundle(tmp_path / ".like")).manifest.artefacts["fp32"]
    both = {"fp32": like, "int8": like.model_copy(update={"precision": "int8"})}
    return open_bundle(write_fake_bundle(tmp_path / "models", max_batch_size=32, artefacts=both))


@pytest.fixture
def serve(bundle: Bundle) -> Iterator[Serve]:
    """Serve it on an invented machine of four processors."""
    lanes, metrics = Lanes(4), Metrics()
    devices = Devices(lambda _: CPU, lambda runtime: "" if runtime == "fake" else None)

    def served(wanted: Wanted | None = None, here_ms: float = 0.0, layout: Any = "auto", **toml: Any) -> ServedModel:
        placing = Placing(devices=devices, wanted=wanted or Wanted())
        serving = Serving(placing, Limits(), lanes, metrics, Drift(metrics), layout, here_ms=here_ms)
        return ServedModel(bundle, ModelSettings(**toml), serving)

    yield served
    lanes.close()


def tune_cpu(bundle: Bundle, *points: Any, **changes: Any) -> None:
    tune_as(bundle, *points, device=CPU, **changes)


def shown(model: ServedModel) -> dict[str, Any]:
    told = model.tuned.shown(model.policy.largest, model.policy.instances)
    assert told is not None
    return told


# What is in force


def test_without_a_tuning_the_latency_table_decides(serve: Serve) -> None:
    model = serve()
    assert (model.policy.largest, model.policy.instances) == (32, 4)
    assert model.tuned.shown(32, 4) is None
    assert model.choice.artefact == "fp32"


def test_batch_size_instances_and_artefact_are_those_of_the_chosen_point(bundle: Bundle, serve: Serve) -> None:
    tune_cpu(bundle, point(1, 5), point(8, 10, instances=3, artefact="int8"), point(32, 60))
    model = serve()
    assert (model.policy.largest, model.policy.instances, model.choice.artefact) == (8, 3, "int8")
    assert model.choice.why == "the highest throughput within a p99 of 50 ms, as tuned on this device"
    assert model.batch_ladder == (1, 2, 4, 8)
    told = shown(model)
    assert (told["p99_ms"], told["holds"], told["batch_size"], told["instances"]) == (50, True, 8, 3)
    assert told["in_force"] == {"batch_size": 8, "instances": 3}


def test_one_batch_on_all_processors_is_the_layout_for_latency(bundle: Bundle, serve: Serve) -> None:
    tune_cpu(bundle, point(4, 20, 4), point(8, 2, 1, threads=4))
    model = serve()
    assert (model.policy.largest, model.policy.instances, model.policy.here) == (8, 1, False)
    assert len(model.engines.loaded) == 1


def test_whether_a_lone_batch_gets_all_processors_is_as_measured_here(bundle: Bundle, serve: Serve) -> None:
    narrow = [point(1, 10), point(4, 20, 4)]
    tune_cpu(bundle, *narrow, point(1, 4, threads=4))
    assert set(serve().engines.loaded) > {ALL_PROCESSORS}
    tune_cpu(bundle, *narrow, point(1, 9.5, threads=4))
    assert ALL_PROCESSORS not in serve().engines.loaded


def test_on_the_event_loop_a_tuned_batch_must_not_hold_up_others(bundle: Bundle, serve: Serve) -> None:
    tune_cpu(bundle, point(1, 0.1), point(8, 0.7), point(32, 2.5))
    assert serve(here_ms=0.0).policy.largest == 32
    here = serve(here_ms=0.3)
    assert (here.policy.here, here.policy.largest) == (True, 8)
    assert shown(here)["in_force"]["batch_size"] == 8


def test_where_nothing_held_the_limit_the_nearest_is_served_and_that_is_shown(bundle: Bundle, serve: Serve) -> None:
    tune_cpu(bundle, point(2, 100), point(8, 400))
    model = serve()
    assert model.policy.largest == 2
    assert shown(model)["holds"] is False
    assert model.choice.why.startswith("nothing is within a p99 of 50 ms; this is the nearest")


@pytest.mark.parametrize("gpus", [(0,), (0, 1)])
def test_on_gpus_instances_are_batches_on_each(tmp_path: Path, gpus: tuple[int, ...]) -> None:
    gpu = DeviceInfo(kind="cuda", name="NVIDIA Q100", compute_capability="9.0")
    bundle = open_bundle(write_fake_bundle(tmp_path))
    tune_as(bundle, point(2, 5, instances=3), device=gpu)
    placing = Placing(Placement("cuda", slots=1), gpus, devices=Devices(lambda _: gpu, lambda _: ""))
    lanes, metrics = Lanes(8), Metrics()
    try:
        model = ServedModel(bundle, ModelSettings(), Serving(placing, Limits(), lanes, metrics, Drift(metrics)))
        assert [one.slots for one in model.placed.placements] == [3] * len(gpus)
        assert (model.policy.largest, model.policy.instances) == (2, 3 * len(gpus))
        fixed = ServedModel(
            bundle, ModelSettings(gpu_instances=4), Serving(placing, Limits(), lanes, metrics, Drift(metrics))
        )
        assert [one.slots for one in fixed.placed.placements] == [4] * len(gpus)
    finally:
        lanes.close()


# What goes before it


POINTS = [point(1, 5), point(4, 10, 2), point(16, 20, 4), point(16, 6, 1, threads=4), point(8, 15, 4, artefact="int8")]


@pytest.mark.parametrize(
    ("toml", "largest", "instances"),
    [
        ({}, 16, 4),
        ({"max_batch_size": 4}, 4, 2),
        ({"instances": 2}, 16, 1),
        ({"instances": 2, "layout": "throughput"}, 4, 2),
        ({"instances": 1, "threads": 1}, 1, 1),
        ({"layout": "latency"}, 16, 1),
        ({"artefact": "int8"}, 8, 4),
        ({"precision": "int8"}, 8, 4),
    ],
)
def test_serving_toml_goes_before_it_and_the_best_of_the_rest_is_taken(
    bundle: Bundle, serve: Serve, toml: dict[str, Any], largest: int, instances: int
) -> None:
    tune_cpu(bundle, *POINTS)
    model = serve(**toml)
    assert (model.policy.largest, model.policy.instances) == (largest, instances)
    assert not model.tuned.not_used


def test_flags_go_before_it(bundle: Bundle, serve: Serve) -> None:
    tune_cpu(bundle, *POINTS)
    assert serve(Wanted(precision="int8")).choice.artefact == "int8"
    assert serve(layout="latency").policy.instances == 1
    assert serve(layout="throughput").policy.instances == 4


def test_a_process_with_fewer_threads_takes_the_best_that_fits(bundle: Bundle) -> None:
    tune_cpu(bundle, *POINTS)
    lanes, metrics = Lanes(2), Metrics()
    try:
        placing = Placing(devices=Devices(lambda _: CPU, lambda _: ""))
        model = ServedModel(bundle, ModelSettings(), Serving(placing, Limits(), lanes, metrics, Drift(metrics)))
        assert (model.policy.largest, model.policy.instances) == (4, 2)
    finally:
        lanes.close()


# What is not followed


def break_damage(bundle: Bundle) -> None:
    tune_cpu(bundle, point(2))
    damage_tuning(bundle, CPU)


def break_version(bundle: Bundle) -> None:
    tune_cpu(bundle, point(2, runtime="fake"), runtimes={"fake": "0.9"})


def break_artefact(bundle: Bundle) -> None:
    tune_cpu(bundle, point(2, artefact="fp64"))


@pytest.mark.parametrize(
    ("breaks", "told"),
    [
        (break_damage, "does not match its digest"),
        (break_version, "measured with fake 0.9"),
        (break_artefact, "none of its 1 measured points fits: 'fp32' in fake, 'int8' in fake may run"),
    ],
)
def test_what_cannot_be_followed_is_left_aside_loudly_and_stops_no_model(
    bundle: Bundle, serve: Serve, caplog: pytest.LogCaptureFixture, breaks: Callable[[Bundle], None], told: str
) -> None:
    breaks(bundle)
    with caplog.at_level(logging.ERROR, "modelyard.serving"):
        model = serve()
    assert (model.policy.largest, model.policy.instances) == (32, 4)
    assert told in shown(model)["not_used"]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("model 'fake' is served without its tuning: ")
    assert told in line


def test_what_makes_a_model_impossible_still_does(bundle: Bundle, serve: Serve) -> None:
    tune_cpu(bundle, point(2))
    with pytest.raises(BundleError, match="artefact 'fp64'"):
        serve(artefact="fp64")


# In a service that runs


@pytest.mark.anyio
async def test_a_service_that_runs_takes_up_a_tuning_and_lets_it_go_when_it_is_damaged(tmp_path: Path) -> None:
    bundle = open_bundle(write_fake_bundle(tmp_path))
    async with kept(tmp_path, POLL_S) as here:

        def largest() -> int:
            served = here.state(1).served
            return served.policy.largest if served else 0

        assert largest() == 4
        tune_as(bundle, point(2))
        await here.until(lambda: largest() == 2)
        damage_tuning(bundle)
        await here.until(lambda: largest() == 4)
        served = here.state(1).served
        assert served is not None
        assert "does not match its digest" in served.tuned.not_used
        assert (await ask(served)).label
        assert here.counted.failures == 0


async def listed(repository: Path, **settings: Any) -> dict[str, Any]:
    """What a fresh service says of its one model, once that has answered."""
    async with started(Settings(repository=repository, here_ms=0, **settings)) as client:
        (model,) = (await client.get("/v1/models")).json()["models"]
        sample = next((repository / model["name"] / "1" / "golden").glob("00.*"))
        answer = await client.post("/v1/classify", content=sample.read_bytes())
        assert answer.status_code == 200, answer.text
        return dict(model)


def written(bundle: Bundle) -> Tuning:
    tuning = read_tuning(bundle, device_info(ON_CPU), installed_version)
    assert tuning is not None
    return tuning


@pytest.mark.anyio
async def test_from_the_command_to_the_service_and_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bundle = open_bundle(write_onnx_bundle(tmp_path, "dense", hidden=16))
    before = await listed(tmp_path)
    assert "tuned" not in before
    flags = ["--batch-sizes", "2", "--instances", "1", "--seconds-per-point", "0.1"]
    main(["tune", str(bundle.folder), "--p99-ms", "10000", *flags])
    chosen = written(bundle).chosen
    assert (chosen.batch_size, chosen.instances) == (2, 1)
    assert chosen.threads in (1, available_cpus())

    after = await listed(tmp_path)
    assert (before["largest_batch"], after["largest_batch"]) == (4, 2)
    assert after["tuned"] == chosen.model_dump(mode="json") | {
        "p99_ms": 10000,
        "holds": True,
        "in_force": {"batch_size": 2, "instances": 1},
        "measured": written(bundle).measured_with["date"],
    }

    damage_tuning(bundle)
    with caplog.at_level(logging.ERROR, "modelyard.serving"):
        damaged = await listed(tmp_path)
    assert damaged["state"] == "ready"
    assert damaged["largest_batch"] == 4
    assert "does not match its digest" in damaged["tuned"]["not_used"]
    assert "model 'dense' is served without its tuning" in caplog.text
