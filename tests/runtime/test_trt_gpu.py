"""What TensorRT engines must do on any GPU: the same checks on a simulated one and, where there is one, a real one."""

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundle.errors import RuntimeFailed
from bundle.tensors import TensorSpec
from runtime.runtime import Placement
from runtime.trt import TrtRuntime
from tests.runtime.trt_cases import (
    ON_GPU,
    RealPlatform,
    SimulatedPlatform,
    assert_right,
    doubling_case,
    image_case,
    images,
    text_case,
    texts,
    why_no_real_gpu,
)

Platform = SimulatedPlatform | RealPlatform
REAL = pytest.param(
    RealPlatform,
    id="real",
    marks=[pytest.mark.gpu, pytest.mark.skipif(bool(why_no_real_gpu()), reason=why_no_real_gpu() or "there is one")],
)


@pytest.fixture(params=[pytest.param(SimulatedPlatform, id="simulated"), REAL])
def platform(request: pytest.FixtureRequest) -> Iterator[Platform]:
    platform = request.param()
    yield platform
    if isinstance(platform, SimulatedPlatform):
        assert platform.gpu.misuses == []


def test_specs_are_read_from_the_engine_with_axes_that_have_no_name(platform: Platform, tmp_path: Path) -> None:
    runtime = platform.load(image_case(tmp_path))
    assert runtime.inputs == (TensorSpec(name="image", dtype="uint8", shape=("?", 8, 8, 3)),)
    assert runtime.outputs == (
        TensorSpec(name="scores", dtype="float32", shape=("?", 3)),
        TensorSpec(name="total", dtype="int64", shape=("?",)),
    )


@pytest.mark.parametrize("graph_batches", [(), (1, 4, 8, 32)], ids=["plain", "graphs"])
@pytest.mark.parametrize("slots", [1, 2])
def test_every_number_of_rows_has_its_answer(
    platform: Platform, tmp_path: Path, slots: int, graph_batches: tuple[int, ...]
) -> None:
    case = image_case(tmp_path)
    runtime = platform.load(case, replace(ON_GPU, slots=slots, graph_batches=graph_batches))
    for num_rows in [*range(1, 33), 1, 8, 32, 9, 4, 2]:  # up, then to and fro between profiles and graphs
        batch = images(num_rows, seed=num_rows)
        assert_right(case, batch, runtime.run(batch))


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_threads_at_once_each_get_their_own_answer(platform: Platform, tmp_path: Path, slots: int) -> None:
    case = image_case(tmp_path)
    runtime = platform.load(case, replace(ON_GPU, slots=slots, graph_batches=(1, 8)))
    start = threading.Barrier(8)

    def ask(thread: int) -> None:
        start.wait()
        for i in range(50):
            batch = images((thread * 50 + i) * 7 % 32 + 1, seed=thread * 50 + i)
            assert_right(case, batch, runtime.run(batch))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [None] * 8


def test_answers_stay_as_they_are_when_others_are_computed(platform: Platform, tmp_path: Path) -> None:
    case = image_case(tmp_path)
    runtime = platform.load(case)
    answers = {seed: runtime.run(images(5, seed)) for seed in range(20)}
    for seed, answer in answers.items():
        assert_right(case, images(5, seed), answer)


@pytest.mark.parametrize("slots", [1, 2])
def test_texts_of_any_length_have_their_answers(platform: Platform, tmp_path: Path, slots: int) -> None:
    case = text_case(tmp_path)
    runtime = platform.load(case, replace(ON_GPU, slots=slots, graph_batches=(1, 4)))
    for num_rows, num_tokens in [(1, 1), (1, 64), (8, 64), (3, 5), (2, 17), (1, 2), (8, 1), (4, 16)]:
        batch = texts(num_rows, num_tokens, seed=num_tokens)
        assert_right(case, batch, runtime.run(batch))


@pytest.mark.parametrize("kind", ["FLOAT16", "INT32", "INT64"])
def test_types_are_what_the_engine_says(platform: Platform, tmp_path: Path, kind: str) -> None:
    case = doubling_case(tmp_path, kind)
    batch = {"x": np.arange(12).reshape(3, 4).astype(kind.lower())}
    assert_right(case, batch, platform.load(case).run(batch))


def test_rows_that_are_not_contiguous_are_computed(platform: Platform, tmp_path: Path) -> None:
    case = image_case(tmp_path)
    batch = {"image": images(12)["image"][::3, ::-1]}
    assert_right(case, batch, platform.load(case).run(batch))


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ({}, "tensor 'image' is missing"),
        ({"picture": images(1)["image"]}, "tensor 'image' is missing"),
        ({**images(1), "z": np.zeros(1)}, "it has no input z"),
        ({"image": images(2)["image"].astype(np.float32)}, "tensor 'image' is float32, expected uint8"),
        ({"image": images(2)["image"][0]}, r"tensor 'image' has shape \[8, 8, 3\], expected"),
        ({"image": images(2)["image"][..., :1]}, r"tensor 'image' has shape \[2, 8, 8, 1\], expected"),
        (
            images(33),
            r"\[33, 8, 8, 3\], the engine was built for \[1, 8, 8, 3\] to \[1, 8, 8, 3\]; .* to \[32, 8, 8, 3\]",
        ),
        (images(0), r"\[0, 8, 8, 3\], the engine was built for"),
    ],
    ids=["nothing", "another name", "one too many", "type", "rank", "size", "too many rows", "no rows"],
)
def test_a_batch_that_does_not_fit_is_refused_and_the_next_is_answered(
    platform: Platform, tmp_path: Path, batch: dict[str, np.ndarray], said: str
) -> None:
    case = image_case(tmp_path)
    runtime = platform.load(case)
    with pytest.raises(RuntimeFailed, match=f"tensorrt failed on .*{said}"):
        runtime.run(batch)
    assert runtime.dead_because == ""
    assert_right(case, images(2), runtime.run(images(2)))


def test_inputs_of_unlike_numbers_of_rows_are_refused(platform: Platform, tmp_path: Path) -> None:
    runtime = platform.load(text_case(tmp_path))
    batch = {"ids": texts(2, 3)["ids"], "mask": texts(3, 3)["mask"]}
    with pytest.raises(RuntimeFailed, match=r"unlike numbers of rows: \{'ids': 2, 'mask': 3\}"):
        runtime.run(batch)


@pytest.mark.parametrize("content", [b"", b"junk", bytes(5000)])
def test_a_file_that_is_no_plan_is_refused_with_what_to_do(platform: Platform, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.plan"
    path.write_bytes(content)
    with pytest.raises(RuntimeFailed, match=f"{path}: TensorRT .* cannot load it.*run `modelyard build-engine`"):
        TrtRuntime(path, ON_GPU, platform.modules)


def test_a_plan_that_was_cut_off_is_refused(platform: Platform, tmp_path: Path) -> None:
    plan = platform.plan(image_case(tmp_path))
    plan.write_bytes(plan.read_bytes()[:8])
    with pytest.raises(RuntimeFailed, match=f"{plan}: TensorRT .* cannot load it"):
        TrtRuntime(plan, ON_GPU, platform.modules)


def test_a_missing_plan_is_refused_by_its_name(platform: Platform, tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailed, match=f"{tmp_path}/model.plan: cannot be read"):
        TrtRuntime(tmp_path / "model.plan", ON_GPU, platform.modules)


def test_a_gpu_that_is_not_there_is_refused_with_advice(platform: Platform, tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailed, match=r"there is no GPU 99 \(\d+ there\); check the driver"):
        platform.load(image_case(tmp_path), Placement("cuda", index=99))


def test_an_engine_over_its_limit_of_memory_is_refused(platform: Platform, tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailed, match=r"this engine may have 64; raise its limit"):
        platform.load(image_case(tmp_path), replace(ON_GPU, memory_bytes=64))


def test_memory_comes_back_when_engines_are_dropped(platform: Platform, tmp_path: Path) -> None:
    case = image_case(tmp_path)
    free_bytes = []
    for _ in range(5):
        runtime = platform.load(case, replace(ON_GPU, slots=2, graph_batches=(1, 8)))
        assert_right(case, images(8), runtime.run(images(8)))
        del runtime
        gc.collect()
        free_bytes.append(platform.modules.cuda.cudaMemGetInfo()[1])
    assert free_bytes[-1] >= free_bytes[0]  # the first pays for what CUDA and TensorRT keep for the process
