"""The whole line on two simulated GPUs: build-engine -> prove -> tune -> serve -> ask over HTTP, and what fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

pytest.importorskip("torch", reason="the line begins with training")

from bundle.engines import EngineRecord, engines_folder, plan_path, read_records, write_record
from bundle.store import Bundle, open_bundle, sha256_of
from modelyard import main
from serving.settings import Settings
from tests.engine_records import GPU
from tests.runtime.simulated_gpu import Error
from tests.runtime.simulated_trt import split_plan
from tests.serving.figures import samples_of
from tests.serving.repositories import copied
from tests.serving.running import started
from tests.serving.wire import error_of, files, predictions_of
from tests.simulated_machine import SimulatedMachine, simulated_machine

__all__ = ["simulated_machine"]
pytestmark = pytest.mark.anyio

NO_MEMORY = "Error Code 1: Cuda Runtime (out of memory)"


@pytest.fixture
def bundle(tiny_bundle: Bundle, tmp_path: Path) -> Bundle:
    """The exported bundle in a repository of its own: engines will lie in it."""
    name = tiny_bundle.folder.parent.name
    return open_bundle(copied(tiny_bundle.folder, tmp_path / "models" / name / "1"))


@pytest.fixture
def engine(bundle: Bundle, simulated_machine: SimulatedMachine) -> EngineRecord:
    """The fp16 artefact as a plan, built and proven by the command."""
    main(["build-engine", str(bundle.folder), "--artefacts", "fp16"])
    ((record,), wrong) = read_records(bundle)
    assert wrong == []
    return record


class Service:
    """A service over HTTP."""

    def __init__(self, client: httpx.AsyncClient, bundle: Bundle) -> None:
        self._client, self._bundle = client, bundle
        self._raws = [sample.raw for sample in bundle.golden()]

    async def ask(self, num_rows: int) -> httpx.Response:
        """A request with so many golden pictures."""
        pictures = files([self._raws[i % len(self._raws)] for i in range(num_rows)])
        return await self._client.post("/v1/classify?top_k=10", files=pictures)

    async def scores(self, num_rows: int) -> "np.ndarray[Any, Any]":
        """[row, class], by the answers."""
        predictions = predictions_of(await self.ask(num_rows))
        by_label = [sorted((entry["label"], entry["score"]) for entry in one["top_k"]) for one in predictions]
        return np.array([[score for _, score in row] for row in by_label])

    async def model(self) -> dict[str, Any]:
        """What `/v1/models` says."""
        (found,) = (await self._client.get("/v1/models")).json()["models"]
        return dict(found)

    async def figure(self, name: str) -> list[float]:
        """The values of a family."""
        return list(samples_of((await self._client.get("/metrics")).text)[f"modelyard_{name}"].values())

    async def live(self) -> tuple[int, str]:
        """Status and reason of the probe."""
        answer = await self._client.get("/v2/health/live")
        return answer.status_code, answer.text


@asynccontextmanager
async def serving(bundle: Bundle, device: str = "cuda", **settings: Any) -> AsyncIterator[Service]:
    given = Settings(repository=bundle.folder.parents[1], device=device, golden_every_s=0, **settings)
    async with started(given) as client:
        yield Service(client, bundle)


@pytest.mark.parametrize("cuda_graphs", [False, True], ids=["plain", "graphs"])
async def test_an_engine_that_was_built_here_answers_over_http_as_the_cpu_does(
    bundle: Bundle, engine: EngineRecord, simulated_machine: SimulatedMachine, cuda_graphs: bool
) -> None:
    async with serving(bundle, "cpu") as on_cpu:
        expected = await on_cpu.scores(8)
    before = len(simulated_machine.gpu.entries("compute"))
    async with serving(bundle, gpus="0,1", cuda_graphs=cuda_graphs) as service:
        model = await service.model()
        answers = await asyncio.gather(*(service.scores(rows) for rows in (8, 1, 3, 8, 5)))
        assert await service.figure("engine_fallback") == [0.0]
    told = ("state", "artefact", "runtime", "precision", "device", "engine", "gpus")
    assert [model[key] for key in told] == ["ready", "fp16", "tensorrt", "fp16", str(GPU), engine.file, [0, 1]]
    assert "fell_back" not in model
    assert len(simulated_machine.gpu.entries("compute")) > before
    assert bool(simulated_machine.gpu.entries("launch")) is cuda_graphs
    atol = bundle.manifest.artefacts["fp16"].atol
    for scores in answers:
        np.testing.assert_allclose(scores, expected[: len(scores)], atol=atol)


async def test_what_is_proven_and_tuned_here_is_what_is_served(
    bundle: Bundle, engine: EngineRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["prove", str(bundle.folder), "--test-split", "no"])
    found, wrong = read_records(bundle)
    assert wrong == []
    proven = {(one.artefact, one.runtime) for one in found}
    assert {("fp32", "onnxruntime"), ("fp16", "onnxruntime"), ("fp16", "tensorrt")} <= proven
    grid = ["--batch-sizes", "1", "4", "--instances", "1", "2", "--seconds-per-point", "0.02"]
    main(["tune", str(bundle.folder), "--device", "cuda", "--p99-ms", "60000", *grid])
    assert capsys.readouterr().out.rstrip().endswith(f"{GPU.slug}.tune.json")
    async with serving(bundle) as service:
        model = await service.model()
        assert len(await service.scores(6)) == 6
    assert (model["artefact"], model["runtime"]) in proven
    assert model["tuned"]["holds"]
    assert model["tuned"]["artefact"] == model["artefact"]
    assert model["why"] == "the highest throughput within a p99 of 60000 ms, as tuned on this device"


async def test_a_gpu_that_breaks_under_load_is_told_to_callers_and_to_the_probe(
    bundle: Bundle, engine: EngineRecord, simulated_machine: SimulatedMachine
) -> None:
    async with serving(bundle, gpus="0,1") as service:
        assert (await service.live())[0] == 200
        simulated_machine.gpu.break_at("compute", Error.cudaErrorIllegalAddress, after=5)
        answers = await asyncio.gather(*(service.ask(1 + i % 8) for i in range(40)))
        status, told = await service.live()
        (broken,) = simulated_machine.gpu.broken
        lost = [one for one in answers if one.status_code != 200]
        assert lost
        for answer in lost:
            assert "cudaErrorIllegalAddress" in error_of(answer, 503, "device_lost")
        assert status == 503
        assert f"on cuda:{broken}: cuda:{broken} is lost to this process: cudaErrorIllegalAddress" in told
        assert len(await service.scores(8)) == 8, "until the process is ended, the other one answers"


async def test_where_the_only_gpu_breaks_nothing_answers_again(
    bundle: Bundle, engine: EngineRecord, simulated_machine: SimulatedMachine
) -> None:
    async with serving(bundle) as service:
        simulated_machine.gpu.break_at("copy out", Error.cudaErrorECCUncorrectable)
        for _ in range(3):
            assert "cudaErrorECCUncorrectable" in error_of(await service.ask(2), 503, "device_lost")
        assert (await service.live())[0] == 503


async def test_a_batch_that_memory_does_not_hold_is_answered_in_halves(
    bundle: Bundle, engine: EngineRecord, simulated_machine: SimulatedMachine
) -> None:
    async with serving(bundle) as service:
        expected = await service.scores(8)
        simulated_machine.trt.refusals.append(NO_MEMORY)
        np.testing.assert_allclose(await service.scores(8), expected, atol=1e-3)
        assert await service.figure("out_of_memory_total") == [1.0]
        assert (await service.model())["largest_batch"] < 8
        assert (await service.live())[0] == 200


def _deleted(bundle: Bundle, engine: EngineRecord, machine: SimulatedMachine) -> None:
    plan_path(engines_folder(bundle), engine).unlink()


def _damaged(bundle: Bundle, engine: EngineRecord, machine: SimulatedMachine) -> None:
    plan_path(engines_folder(bundle), engine).write_bytes(b"half of a plan")


def _refused(bundle: Bundle, engine: EngineRecord, machine: SimulatedMachine) -> None:
    machine.trt.loads = "a GPU of another kind"


def _too_large(bundle: Bundle, engine: EngineRecord, machine: SimulatedMachine) -> None:
    machine.trt.refusals += [NO_MEMORY] * 10


def _wrong(bundle: Bundle, engine: EngineRecord, machine: SimulatedMachine) -> None:
    """A plan with other weights, under a record that vouches for it."""
    onnx = pytest.importorskip("onnx", reason="another graph is written with onnx")
    folder = engines_folder(bundle)
    plan = plan_path(folder, engine)
    header, graph = split_plan(plan.read_bytes())
    model = onnx.load_from_string(graph)
    for weights in model.graph.initializer:
        weights.raw_data = weights.raw_data[::-1] if weights.data_type == onnx.TensorProto.FLOAT16 else weights.raw_data
    plan.write_bytes(header + model.SerializeToString())
    write_record(folder, engine.model_copy(update={"sha256": sha256_of(plan)}))


USELESS = {
    "deleted": (_deleted, "cannot be read"),
    "damaged": (_damaged, "changed or damaged"),
    "refused by TensorRT": (_refused, "was built for another device"),
    "too large": (_too_large, "out of memory"),
    "with wrong answers": (_wrong, "golden sample 0 alone: output 'scores': error "),
}


@pytest.mark.parametrize("case", USELESS)
async def test_an_engine_that_is_of_no_use_is_replaced_and_everybody_can_see_it(
    bundle: Bundle, engine: EngineRecord, simulated_machine: SimulatedMachine, case: str
) -> None:
    happens, told = USELESS[case]
    happens(bundle, engine, simulated_machine)
    async with serving(bundle, "cpu") as on_cpu:
        expected = await on_cpu.scores(8)
    async with serving(bundle) as service:
        model = await service.model()
        np.testing.assert_allclose(await service.scores(8), expected, atol=1e-4)
        assert await service.figure("engine_fallback") == [1.0]
        assert simulated_machine.trt.live == {"engine": 0, "context": 0}, "its memory is free again"
    assert (model["state"], model["artefact"], model["runtime"]) == ("ready", "fp32", "onnxruntime")
    assert told in model["fell_back"]
    assert "'fp32' in onnxruntime is not proven on NVIDIA Q100" in model["fell_back"]
