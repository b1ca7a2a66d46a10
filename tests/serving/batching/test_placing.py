"""Where models run: what the settings of the service and of a model say together."""

from pathlib import Path
from typing import Any

import pytest

from bundle.errors import BadInput, RuntimeFailed
from runtime.choice import Wanted
from runtime.runtime import ON_CPU, Placement
from serving.batching.placing import Placing, placing_of
from serving.repository.model_settings import ModelSettings
from serving.settings import Settings
from tests.engine_records import CPU, GPU, OTHER_GPU
from tests.serving.invented_gpus import Machine
from tests.serving.running import run_to_the_end

FOUR = Machine(GPU, GPU, OTHER_GPU, GPU)


def placing(**settings: Any) -> Placing:
    return placing_of(Settings(device="cuda", **settings), FOUR.devices)


def test_by_itself_everything_runs_on_the_cpu() -> None:
    placed = placing_of(Settings(), FOUR.devices).of(ModelSettings())
    assert (placed.device, placed.placements, placed.is_gpu) == (CPU, (ON_CPU,), False)
    assert placed.wanted == Wanted()


def test_a_model_gets_the_first_gpu_by_itself() -> None:
    placed = placing().of(ModelSettings())
    assert placed.placements == (Placement("cuda", 0, slots=2),)
    assert (placed.device, placed.is_gpu, placed.slots) == (GPU, True, 2)


def test_a_model_gets_every_gpu_that_is_named() -> None:
    placed = placing(gpus="0,3", gpu_instances=3, gpu_memory_mib=512).of(ModelSettings())
    assert placed.placements == tuple(Placement("cuda", i, memory_bytes=2**29, slots=3) for i in (0, 3))
    assert placed.slots == 6


def test_all_gpus_are_those_that_are_there() -> None:
    machine = Machine(GPU, GPU, GPU)
    placed = placing_of(Settings(device="cuda", gpus="all"), machine.devices).of(ModelSettings())
    assert [one.index for one in placed.placements] == [0, 1, 2]


def test_what_a_model_says_goes_before_what_the_service_says(tmp_path: Path) -> None:
    service = placing(runtime="onnxruntime", precision="fp32", engines=tmp_path)
    says = ModelSettings.model_validate(
        {
            "runtime": "tensorrt",
            "precision": "int8",
            "artefact": "int8-trt",
            "require_engine": True,
            "gpus": [1],
            "gpu_instances": 4,
        }
    )
    placed = service.of(says)
    assert placed.wanted == Wanted("tensorrt", "int8", "int8-trt", require_engine=True, engines=tmp_path)
    assert placed.placements == (Placement("cuda", 1, slots=4),)
    assert service.of(ModelSettings()).wanted == Wanted("onnxruntime", "fp32", engines=tmp_path)


def test_a_model_may_do_without_the_engine_that_the_service_requires() -> None:
    service = placing(require_engine=True)
    assert service.of(ModelSettings()).wanted.require_engine
    assert not service.of(ModelSettings(require_engine=False)).wanted.require_engine


def test_gpus_of_unlike_kinds_are_refused_by_name() -> None:
    with pytest.raises(RuntimeFailed) as refused:
        placing(gpus="1,2").of(ModelSettings())
    assert str(refused.value) == (
        "a model runs on GPUs of one kind, and cuda:1 is NVIDIA Q100 (compute capability 9.0), cuda:2 is NVIDIA Q40 "
        "(compute capability 8.9); name those of one kind (--gpus)"
    )


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(RuntimeFailed, match=r"there is no GPU 7 \(4 there\)"):
        placing(gpus="0,7").of(ModelSettings())


def test_on_gpus_threads_that_wait_come_on_top_of_those_that_prepare() -> None:
    assert placing_of(Settings(), FOUR.devices).num_lanes(4) == 4
    assert placing().num_lanes(4) == 6
    assert placing(gpus="0,1,3", gpu_instances=3).num_lanes(4) == 13
    assert placing(gpus="all", gpu_instances=1).num_lanes(1) == 5


def test_without_any_gpu_the_service_starts_and_refuses_its_models() -> None:
    class Nowhere(Machine):
        def info(self, placement: Placement) -> Any:
            raise RuntimeFailed("there is no GPU 0")

    service = placing_of(Settings(device="cuda", gpus="all"), Nowhere().devices)
    assert service.num_lanes(2) == 4
    with pytest.raises(RuntimeFailed, match="there is no GPU 0"):
        service.of(ModelSettings())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"require_engine": True}, "--require-engine: only with --device cuda; this service is to run on the CPU"),
        ({"runtime": "tensorrt"}, "--runtime tensorrt: only with --device cuda"),
        ({"gpus": "0,1"}, "--gpus 0,1: only with --device cuda"),
        ({"gpus": "all"}, "--gpus all: only with --device cuda"),
        ({"gpu_memory_mib": 512}, "--gpu-memory-mib 512: only with --device cuda"),
        ({"cuda_graphs": True, "gpus": "1"}, "--gpus 1, --cuda-graphs: only with --device cuda"),
        (
            {"device": "cuda", "require_engine": True, "runtime": "onnxruntime"},
            "--require-engine asks for a TensorRT engine and --runtime onnxruntime for none; leave one of them out",
        ),
        ({"device": "cuda", "gpus": "1,0,1"}, "--gpus 1,0,1 names a GPU twice; --gpu-instances sets how many batches"),
    ],
)
def test_settings_that_contradict_each_other_are_told(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput) as refused:
        placing_of(Settings(**settings))
    assert str(refused.value).startswith(told)


@pytest.mark.parametrize("workers", [(), ("--workers=2",)])
def test_a_contradiction_ends_the_start_with_one_line(tmp_path: Path, workers: tuple[str, ...]) -> None:
    done = run_to_the_end(str(tmp_path), "--require-engine", *workers)
    assert done.returncode == 1
    assert done.stderr == (
        "modelyard serve: --require-engine: only with --device cuda; this service is to run on the CPU\n"
    )
