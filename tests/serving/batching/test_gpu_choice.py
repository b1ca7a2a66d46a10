"""What a service with GPUs runs, and that a fallback shows in the listing, the figures and the log."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bundle.engines import FOLDER
from bundle.store import Bundle, open_bundle
from serving.settings import Settings
from tests.builders import png
from tests.engine_records import GPU, OTHER_GPU, build, plan_of, prove, write_gpu_bundle
from tests.serving.figures import samples_of
from tests.serving.invented_gpus import Machine, kept_on, only, running, two_gpus
from tests.serving.repositories import POLL_S, ask, write_settings
from tests.serving.running import started

__all__ = ["two_gpus"]
pytestmark = pytest.mark.anyio

DEVICE = "NVIDIA Q100 (compute capability 9.0)"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Version 1 of 'fake', in a repository of its own."""
    return write_gpu_bundle(tmp_path / "models")


class Service:
    """A service over HTTP, with what it shows."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def model(self, name: str = "fake") -> dict[str, Any]:
        """What `/v1/models` says of one model."""
        listed = (await self.client.get("/v1/models")).json()["models"]
        (found,) = [one for one in listed if one["name"] == name]
        return dict(found)

    async def figures(self, name: str) -> dict[tuple[str, ...], float]:
        """One family's samples."""
        return samples_of((await self.client.get("/metrics")).text).get(f"modelyard_{name}", {})

    async def answers(self, model: str = "fake") -> int:
        """The status of a good request."""
        return (await self.client.post(f"/v1/classify?model={model}", content=png())).status_code


@asynccontextmanager
async def serving(bundle: Bundle, machine: Machine, **settings: Any) -> AsyncIterator[Service]:
    given = Settings(repository=bundle.folder.parents[1], device="cuda", **settings)
    async with started(given, machine.devices) as client:
        yield Service(client)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def test_the_fastest_proven_engine_runs_and_everybody_can_see_why(
    bundle: Bundle, two_gpus: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    prove(bundle, "fp16", "onnxruntime", ms=2.0)
    record = build(bundle, "int8-trt", ms=1.0)
    async with serving(bundle, two_gpus) as service:
        model = await service.model()
        assert await service.answers() == 200
        info, fallback = await service.figures("model_info"), await service.figures("engine_fallback")
    assert model["state"] == "ready"
    told = ("artefact", "runtime", "precision", "device", "engine", "gpus", "instances", "largest_batch")
    assert [model[key] for key in told] == ["int8-trt", "tensorrt", "int8", DEVICE, record.file, [0], 2, 4]
    assert model["why"] == f"the fastest of those proven on {DEVICE}: 2.00 times 'fp16' in onnxruntime"
    assert "fell_back" not in model
    to_be_proven = {name: one.get("to_be_proven_on") for name, one in model["artefacts"].items()}
    assert to_be_proven == {"fp32": None, "int8": None, "fp16": None, "int8-trt": None}
    assert {name: one["device"] for name, one in model["artefacts"].items()} == {
        "fp32": "any",
        "int8": "cpu",
        "fp16": "cuda",
        "int8-trt": "cuda",
    }
    assert info == {("int8-trt", GPU.name, "fake", "int8", "tensorrt", "1"): 1.0}
    assert fallback == {("fake", "1"): 0.0}
    assert warnings_of(caplog) == []


async def test_what_is_made_for_gpus_and_not_proven_here_is_listed_as_such(bundle: Bundle, two_gpus: Machine) -> None:
    prove(bundle, "fp16", "onnxruntime")
    async with serving(bundle, two_gpus) as service:
        artefacts = (await service.model())["artefacts"]
    assert "to_be_proven_on" not in artefacts["fp16"]
    assert artefacts["int8-trt"]["to_be_proven_on"] == "cuda"


def _nothing(bundle: Bundle) -> object:
    return bundle


def _of_another_gpu(bundle: Bundle) -> object:
    return build(bundle, "fp16", device=OTHER_GPU)


def _of_another_version(bundle: Bundle) -> object:
    return build(bundle, "fp16", runtime_version="11.3.0")


def _of_another_bundle(bundle: Bundle) -> object:
    return build(bundle, "fp16", bundle_digest="0" * 64)


def _damaged(bundle: Bundle) -> object:
    return plan_of(bundle, build(bundle, "fp16")).write_bytes(b"x")


FALLBACKS = {
    "nothing was built": (_nothing, "run `modelyard prove"),
    "another GPU": (_of_another_gpu, "for NVIDIA Q40 (compute capability 8.9) is not used on NVIDIA Q100"),
    "another version": (_of_another_version, "is not used with tensorrt 11.4.0"),
    "another bundle": (_of_another_bundle, "made for another bundle"),
    "damaged": (_damaged, "changed or damaged"),
}


@pytest.mark.parametrize("case", FALLBACKS)
async def test_a_fallback_shows_in_the_listing_the_figures_and_the_log(
    bundle: Bundle, two_gpus: Machine, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    lies_there, told = FALLBACKS[case]
    lies_there(bundle)
    async with serving(bundle, two_gpus) as service:
        model = await service.model()
        assert await service.answers() == 200
        fallback, info = await service.figures("engine_fallback"), await service.figures("model_info")
    assert (model["state"], model["artefact"]) == ("ready", "fp32")
    assert told in model["fell_back"]
    assert fallback == {("fake", "1"): 1.0}
    assert info == {("fp32", GPU.name, "fake", "fp32", "fake", "1"): 1.0}
    (warning,) = warnings_of(caplog)
    assert warning == f"model 'fake' version 1 falls back to 'fp32' in fake: {model['fell_back']}"


@pytest.mark.parametrize("case", FALLBACKS)
async def test_where_an_engine_is_required_the_model_is_refused_and_others_go_on(
    bundle: Bundle, two_gpus: Machine, case: str
) -> None:
    lies_there, told = FALLBACKS[case]
    lies_there(bundle)
    build(write_gpu_bundle(bundle.folder.parents[1], "other"), "fp16")
    async with serving(bundle, two_gpus, require_engine=True) as service:
        model = await service.model()
        assert (await service.client.get("/v2/health/ready")).status_code == 200
        assert [await service.answers("fake"), await service.answers("other")] == [503, 200]
    assert model["state"] == "refused"
    assert "an engine (--require-engine)" in model["reason"]
    assert case == "nothing was built" or told in model["reason"]


@pytest.mark.parametrize(
    ("settings", "runs"),
    [
        ({}, ("int8-trt", "tensorrt")),
        ({"runtime": "onnxruntime"}, ("fp16", "onnxruntime")),
        ({"precision": "fp16"}, ("fp16", "tensorrt")),
        ({"precision": "fp32"}, ("fp32", "onnxruntime")),
        ({"runtime": "onnxruntime", "precision": "fp32"}, ("fp32", "onnxruntime")),
    ],
)
@pytest.mark.parametrize("whose", ["the service's", "the model's"])
async def test_preferences_are_followed(
    bundle: Bundle, two_gpus: Machine, settings: dict[str, Any], runs: tuple[str, str], whose: str
) -> None:
    for artefact, ms in (("fp32", 4.0), ("fp16", 2.0)):
        prove(bundle, artefact, "onnxruntime", ms=ms)
    build(bundle, "fp16", ms=1.5)
    build(bundle, "int8-trt", ms=1.0)
    if whose == "the model's":
        write_settings(bundle.folder.parents[1], "".join(f"{key} = '{value}'\n" for key, value in settings.items()))
        settings = {}
    async with serving(bundle, two_gpus, **settings) as service:
        model = await service.model()
    assert (model["artefact"], model["runtime"]) == runs
    assert "fell_back" not in model


async def test_a_model_that_names_its_artefact_gets_it_or_is_refused(bundle: Bundle, two_gpus: Machine) -> None:
    write_settings(bundle.folder.parents[1], "artefact = 'fp16'")
    build(bundle, "int8-trt")
    async with serving(bundle, two_gpus) as service:
        model = await service.model()
    assert model["state"] == "refused"
    assert "asked for artefact 'fp16'" in model["reason"]


async def test_the_protocol_tells_what_runs(bundle: Bundle, two_gpus: Machine) -> None:
    record = build(bundle, "fp16")
    async with serving(bundle, two_gpus, gpus="0,1", gpu_instances=3) as service:
        metadata = (await service.client.get("/v2/models/fake")).json()
        config = (await service.client.get("/v2/models/fake/config")).json()
    assert metadata["platform"] == config["platform"] == "tensorrt_plan"
    assert config["backend"] == "tensorrt"
    assert config["default_model_filename"] == record.file
    assert config["instance_group"] == [{"name": "fake", "kind": "KIND_GPU", "count": 3, "gpus": [0, 1]}]


# While it runs


@pytest.mark.parametrize("where", ["in the bundle", "in the cache"])
async def test_an_engine_that_is_built_while_it_serves_is_taken_up(
    bundle: Bundle, two_gpus: Machine, tmp_path: Path, where: str
) -> None:
    cache = tmp_path / "cache" if where == "in the cache" else None
    prove(bundle, "fp32", "onnxruntime", ms=2.0, cache=cache)
    async with kept_on(two_gpus, bundle, POLL_S, engines=cache) as here:
        assert running(here) == ("fp32", "onnxruntime")
        build(bundle, "fp16", ms=1.0, cache=cache)
        await here.until(lambda: running(here) == ("fp16", "tensorrt"))
        assert here.states() == {1: "ready"}
        assert (await ask(only(here))).label
        assert [choice.runtime for _, _, choice in here.counted.runs] == ["onnxruntime", "tensorrt"]


async def test_a_model_that_waits_for_its_engine_is_served_once_it_is_built(bundle: Bundle, two_gpus: Machine) -> None:
    async with kept_on(two_gpus, bundle, POLL_S, require_engine=True) as here:
        assert here.states() == {1: "refused"}
        build(bundle, "fp16")
        await here.until(lambda: here.states() == {1: "ready"})


async def test_other_files_beside_an_engine_bring_nothing_up_again(bundle: Bundle, two_gpus: Machine) -> None:
    build(bundle, "fp16")
    async with kept_on(two_gpus, bundle, POLL_S) as here:
        before = only(here)
        for name in ("nvidia-q100.png", "notes.txt"):
            (bundle.folder / FOLDER / name).write_bytes(b"x")
        await here.a_few_looks()
        build(bundle, "fp16", device=OTHER_GPU)
        await here.a_few_looks()
        assert only(here) is before
        assert len(here.counted.runs) == 1


async def test_an_engine_that_is_slower_brings_nothing_up_again(bundle: Bundle, two_gpus: Machine) -> None:
    prove(bundle, "fp16", "onnxruntime", ms=1.0)
    async with kept_on(two_gpus, bundle, POLL_S) as here:
        before = only(here)
        build(bundle, "fp16", ms=2.0)
        await here.a_few_looks()
        assert only(here) is before


async def test_what_is_amiss_from_now_on_is_told_without_bringing_anything_up(
    bundle: Bundle, two_gpus: Machine
) -> None:
    prove(bundle, "fp16", "onnxruntime", ms=1.0)
    async with kept_on(two_gpus, bundle, POLL_S) as here:
        before = only(here)
        assert before.choice.fell_back == ""
        build(bundle, "int8-trt", device=OTHER_GPU)
        await here.until(lambda: "is not used on NVIDIA Q100" in before.choice.fell_back)
        assert only(here) is before
        assert [bool(choice.fell_back) for _, _, choice in here.counted.runs] == [False, True]


async def test_an_engine_that_fails_its_golden_samples_never_replaces_what_answers(
    bundle: Bundle, two_gpus: Machine
) -> None:
    prove(bundle, "fp16", "onnxruntime", ms=2.0)
    async with kept_on(two_gpus, bundle, POLL_S) as here:
        two_gpus.wrong.add(0)
        before = len(two_gpus.loaded)
        build(bundle, "fp16", ms=1.0)
        await here.until(lambda: "is refused" in here.state(1).reason)
        await here.a_few_looks()
        assert running(here) == ("fp16", "onnxruntime")
        assert len(two_gpus.loaded) == before + 3, "all that is there is tried once"
        assert here.state(1).state == "ready"


async def test_an_engine_that_goes_while_it_serves_is_replaced_by_what_is_left(
    bundle: Bundle, two_gpus: Machine
) -> None:
    prove(bundle, "fp32", "onnxruntime", ms=2.0)
    record = build(bundle, "fp16", ms=1.0)
    async with kept_on(two_gpus, bundle, POLL_S) as here:
        plan_of(bundle, record).unlink()
        await here.until(lambda: running(here) == ("fp32", "onnxruntime"))
        assert "cannot be read" in only(here).choice.fell_back


async def test_a_required_engine_that_goes_is_served_on_as_it_was_loaded(bundle: Bundle, two_gpus: Machine) -> None:
    record = build(bundle, "fp16")
    async with kept_on(two_gpus, bundle, POLL_S, require_engine=True) as here:
        plan_of(bundle, record).unlink()
        await here.until(lambda: "it answers as it was loaded" in here.state(1).reason)
        assert running(here) == ("fp16", "tensorrt")
        assert open_bundle(bundle.folder).manifest == bundle.manifest
