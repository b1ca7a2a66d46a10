"""An engine whose proof is good and that does not do: the next best answers and says why, or nothing answers."""

import logging
from pathlib import Path
from typing import Any

import pytest

from bundle.engines import EngineRecord
from bundle.errors import ModelNotReady
from bundle.store import Bundle
from serving.batching.placing import placing_of
from serving.http.models import describe
from serving.repository.model_settings import ModelSettings
from serving.repository.served import ServedModel, Serving
from serving.settings import Settings
from tests.builders import FAKE_FILE
from tests.engine_records import GPU, build, prove, write_gpu_bundle
from tests.serving.figures import samples_of
from tests.serving.invented_gpus import ANSWERS_WRONGLY, MARKS, Machine, kept_on, only, running, two_gpus
from tests.serving.repositories import POLL_S, ask, kept, write_settings
from tests.serving.running import started
from tests.tunings import point, tune_as

__all__ = ["two_gpus"]
pytestmark = pytest.mark.anyio

USELESS = {
    "cannot be loaded": "nvidia-q100-trt11.4.0.fp16.plan: cannot be loaded",
    "is too large": "nvidia-q100-trt11.4.0.fp16.plan: is too large",
    "answers wrongly": "golden sample 0 alone: output 'scores': error ",
}
"""What is the matter with a plan -> what is told of it."""


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """fp16 is proven in ONNX Runtime; engines are to come."""
    bundle = write_gpu_bundle(tmp_path / "models")
    prove(bundle, "fp16", "onnxruntime", ms=2.0)
    return bundle


def build_useless(bundle: Bundle, matter: str, artefact: str = "fp16", **told: Any) -> EngineRecord:
    """An engine whose record is good."""
    fake = (bundle.folder / FAKE_FILE).read_bytes()
    return build(bundle, artefact, plan=fake[:-1] + f', "{matter}": []}}'.encode(), **told)


def test_every_mark_of_a_plan_is_tried_here() -> None:
    assert {mark.decode() for mark in (*MARKS, ANSWERS_WRONGLY)} == {*USELESS, "loses the device"}


@pytest.mark.parametrize("matter", USELESS)
async def test_the_next_best_answers_and_everybody_can_see_why(
    bundle: Bundle, two_gpus: Machine, caplog: pytest.LogCaptureFixture, matter: str
) -> None:
    build_useless(bundle, matter)
    settings = Settings(repository=bundle.folder.parents[1], device="cuda", golden_every_s=0)
    async with started(settings, two_gpus.devices) as client:
        (model,) = (await client.get("/v1/models")).json()["models"]
        figures = samples_of((await client.get("/metrics")).text)
    assert (model["state"], model["artefact"], model["runtime"]) == ("ready", "fp16", "onnxruntime")
    assert model["fell_back"].startswith(f"'fp16' in tensorrt cannot be used: {USELESS[matter]}")
    assert figures["modelyard_engine_fallback"] == {("fake", "1"): 1.0}
    assert figures["modelyard_model_info"] == {("fp16", GPU.name, "fake", "fp16", "onnxruntime", "1"): 1.0}
    tried, fell_back = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert USELESS[matter] in tried
    assert tried.endswith("; the next best is tried, if there is any")
    assert fell_back == f"model 'fake' version 1 falls back to 'fp16' in onnxruntime: {model['fell_back']}"


@pytest.mark.parametrize("matter", USELESS)
async def test_another_engine_goes_before_onnx_runtime(bundle: Bundle, two_gpus: Machine, matter: str) -> None:
    build_useless(bundle, matter, ms=0.5)
    build(bundle, "int8-trt", ms=1.0)
    async with kept_on(two_gpus, bundle) as here:
        assert running(here) == ("int8-trt", "tensorrt")
        assert USELESS[matter] in only(here).choice.fell_back
        assert (await ask(only(here))).label


async def test_what_is_unproven_is_the_last_resort(tmp_path: Path, two_gpus: Machine) -> None:
    bundle = write_gpu_bundle(tmp_path / "models")
    build_useless(bundle, "cannot be loaded")
    async with kept_on(two_gpus, bundle) as here:
        assert running(here) == ("fp32", "fake")
        assert "cannot be loaded; 'fp32' in fake is not proven on" in only(here).choice.fell_back


async def test_where_all_fails_every_cause_is_told(bundle: Bundle, two_gpus: Machine) -> None:
    build_useless(bundle, "cannot be loaded")
    build_useless(bundle, "is too large", "int8-trt")
    two_gpus.wrong.add(0)
    async with kept_on(two_gpus, bundle) as here:
        assert here.states() == {1: "refused"}
        reason = here.state(1).reason
        tried = ["'fp16' in tensorrt", "'int8-trt' in tensorrt", "'fp16' in onnxruntime", "'fp32' in fake"]
        assert [f"{one} cannot be used: " in reason for one in tried] == [True] * 4
        assert [what in reason for what in ("cannot be loaded", "is too large", "golden sample 0")] == [True] * 3
        assert here.models.not_live_because() == ""


async def test_what_failed_has_given_its_place_back(bundle: Bundle, two_gpus: Machine) -> None:
    build_useless(bundle, "answers wrongly")
    async with kept_on(two_gpus, bundle, gpus="0,1") as here:
        assert [one.index for one in two_gpus.loaded] == [0, 1, 0, 1]
        assert running(here) == ("fp16", "onnxruntime")
        assert len(here.counted.runs) == 1
        assert here.counted.failures == 0


async def test_nothing_is_tried_twice_whatever_happens_to_its_proof(bundle: Bundle, two_gpus: Machine) -> None:
    """Somebody writes the record anew whenever it was read."""

    def serve(bundle: Bundle, settings: ModelSettings, serving: Serving, *_: object) -> ServedModel:
        return ServedModel(bundle, settings, serving)

    build_useless(bundle, "cannot be loaded")
    settings = Settings(repository=bundle.folder.parents[1], device="cuda")
    placing = placing_of(settings, two_gpus.devices)
    async with kept(settings.repository, serve=serve, placing=placing) as here:
        assert here.states() == {1: "refused"}
        assert here.state(1).reason == USELESS["cannot be loaded"]


# What was asked for


async def test_a_required_engine_is_not_replaced_by_anything_else(bundle: Bundle, two_gpus: Machine) -> None:
    build_useless(bundle, "cannot be loaded")
    async with kept_on(two_gpus, bundle, require_engine=True) as here:
        assert here.states() == {1: "refused"}
        assert "asked for an engine (--require-engine)" in here.state(1).reason
        assert USELESS["cannot be loaded"] in here.state(1).reason


async def test_a_required_engine_may_be_another_engine(bundle: Bundle, two_gpus: Machine) -> None:
    build_useless(bundle, "cannot be loaded", ms=0.5)
    build(bundle, "int8-trt", ms=1.0)
    async with kept_on(two_gpus, bundle, require_engine=True) as here:
        assert running(here) == ("int8-trt", "tensorrt")
        assert USELESS["cannot be loaded"] in only(here).choice.fell_back


async def test_an_artefact_that_is_named_is_not_replaced_by_another(bundle: Bundle, two_gpus: Machine) -> None:
    write_settings(bundle.folder.parents[1], "artefact = 'int8-trt'")
    build_useless(bundle, "answers wrongly", "int8-trt")
    async with kept_on(two_gpus, bundle) as here:
        assert here.states() == {1: "refused"}
        assert "asked for artefact 'int8-trt'" in here.state(1).reason
        assert "'int8-trt' in tensorrt cannot be used: golden sample 0" in here.state(1).reason


@pytest.mark.parametrize("matter", USELESS)
async def test_a_preference_that_fails_is_replaced_and_told(bundle: Bundle, two_gpus: Machine, matter: str) -> None:
    write_settings(bundle.folder.parents[1], "runtime = 'tensorrt'")
    build_useless(bundle, matter)
    async with kept_on(two_gpus, bundle) as here:
        assert running(here) == ("fp16", "onnxruntime")
        assert "asked for runtime tensorrt" in only(here).choice.fell_back
        assert USELESS[matter] in only(here).choice.fell_back


async def test_a_tuning_does_not_bring_back_what_failed(bundle: Bundle, two_gpus: Machine) -> None:
    build_useless(bundle, "answers wrongly")
    runtimes = {"tensorrt": "11.4.0", "onnxruntime": "1.31.1"}
    speeds = {"tensorrt": 9e3, "onnxruntime": 1e3}
    points = [point(artefact="fp16", runtime=name, rows_per_s=speed) for name, speed in speeds.items()]
    tune_as(bundle, *points, device=GPU, runtimes=runtimes)
    async with kept_on(two_gpus, bundle) as here:
        assert running(here) == ("fp16", "onnxruntime")
        assert only(here).tuned.point is not None
        assert USELESS["answers wrongly"] in only(here).choice.fell_back


# A lost device


async def test_a_lost_device_is_nothing_to_fall_back_on(bundle: Bundle, two_gpus: Machine) -> None:
    build_useless(bundle, "loses the device")
    async with kept_on(two_gpus, bundle) as here:
        assert here.states() == {1: "refused"}
        assert two_gpus.loaded == []
        assert "loses the device" in here.models.not_live_because()


# While it runs


async def test_polls_leave_what_fell_back_alone(bundle: Bundle, two_gpus: Machine) -> None:
    build_useless(bundle, "answers wrongly")
    async with kept_on(two_gpus, bundle, POLL_S) as here:
        before, loaded = only(here), len(two_gpus.loaded)
        await here.a_few_looks()
        (bundle.folder / "engines" / "notes.txt").write_text("a folder that was touched")
        build(bundle, "int8-trt", ms=9.0)
        await here.a_few_looks()
        assert only(here) is before
        assert len(two_gpus.loaded) == loaded
        assert len(here.counted.runs) == 1
        assert USELESS["answers wrongly"] in before.choice.fell_back


async def test_an_engine_that_is_built_anew_is_tried(bundle: Bundle, two_gpus: Machine) -> None:
    build_useless(bundle, "answers wrongly")
    async with kept_on(two_gpus, bundle, POLL_S) as here:
        assert running(here) == ("fp16", "onnxruntime")
        build(bundle, "fp16")
        await here.until(lambda: running(here) == ("fp16", "tensorrt"))
        assert only(here).choice.fell_back == ""


async def test_a_new_engine_that_does_not_do_is_tried_once_and_told(bundle: Bundle, two_gpus: Machine) -> None:
    async with kept_on(two_gpus, bundle, POLL_S) as here:
        assert only(here).choice.fell_back == ""
        loaded = len(two_gpus.loaded)
        build_useless(bundle, "answers wrongly")
        await here.until(lambda: USELESS["answers wrongly"] in only(here).choice.fell_back)
        await here.a_few_looks()
        assert running(here) == ("fp16", "onnxruntime")
        assert len(two_gpus.loaded) == loaded + 2


async def test_loading_again_tries_the_engine_again(bundle: Bundle, two_gpus: Machine) -> None:
    build(bundle, "fp16")
    two_gpus.capacity[0] = 0
    async with kept_on(two_gpus, bundle) as here:
        with pytest.raises(ModelNotReady, match="do not fit into GPU 0"):
            await here.models.load("fake")
        del two_gpus.capacity[0]
        await here.models.load("fake")
        assert running(here) == ("fp16", "tensorrt")
        assert "fell_back" not in describe(here.state(1))
