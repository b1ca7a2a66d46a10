"""ONNX Runtime loads a graph on the device that was asked for, or says what is missing."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from bundle.errors import DeviceLost, OutOfMemory, RuntimeFailed
from bundle.tensors import Array, Tensors, TensorSpec
from runtime.ort import OrtRuntime
from runtime.runtime import Placement
from tests.runtime.onnx_graphs import write_doubling, write_endless

HAS_CUDA = "CUDAExecutionProvider" in ort.get_available_providers()
SHAPE = ("batch", 4)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_doubling(tmp_path_factory.mktemp("onnx") / "model.onnx")


@pytest.fixture(scope="module")
def runtime(path: Path) -> OrtRuntime:
    return OrtRuntime(path)


def rows(num_rows: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((num_rows, 4), dtype=np.float32)


def test_specs_are_read_from_the_graph(runtime: OrtRuntime) -> None:
    assert runtime.inputs == (TensorSpec(name="x", dtype="float32", shape=SHAPE),)
    assert runtime.outputs == (TensorSpec(name="y", dtype="float32", shape=SHAPE),)


@pytest.mark.parametrize(
    ("onnx_type", "dtype"),
    [("UINT8", "uint8"), ("INT8", "int8"), ("INT32", "int32"), ("INT64", "int64"), ("FLOAT16", "float16")],
)
def test_every_type_of_a_bundle_is_read(tmp_path: Path, onnx_type: str, dtype: str) -> None:
    runtime = OrtRuntime(write_doubling(tmp_path / "model.onnx", dtype=onnx_type))
    assert runtime.inputs[0].dtype == dtype
    assert runtime.run({"x": np.ones((1, 4), dtype)})["y"].dtype == np.dtype(dtype)


@pytest.mark.parametrize("num_rows", [1, 3, 64])
def test_outputs_come_by_name(runtime: OrtRuntime, num_rows: int) -> None:
    outputs = runtime.run({"x": rows(num_rows)})
    assert list(outputs) == ["y"]
    assert np.array_equal(outputs["y"], rows(num_rows) * 2)


def test_several_intra_op_threads_give_the_same_answer(path: Path) -> None:
    assert np.array_equal(OrtRuntime(path, Placement(threads=2)).run({"x": rows(9)})["y"], rows(9) * 2)


def test_rows_that_are_not_contiguous_are_computed(runtime: OrtRuntime) -> None:
    assert np.array_equal(runtime.run({"x": rows(6)[::2]})["y"], rows(6)[::2] * 2)


def test_threads_at_once_each_get_their_own_answer(runtime: OrtRuntime) -> None:
    def ask(seed: int) -> bool:
        x = rows(seed % 5 + 1, seed)
        return np.array_equal(runtime.run({"x": x})["y"], x * 2)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(400)))


@pytest.mark.skipif(HAS_CUDA, reason="this onnxruntime has CUDA")
def test_a_device_that_is_not_there_is_refused_with_advice(path: Path) -> None:
    with pytest.raises(RuntimeFailed, match="device 'cuda' needs CUDAExecutionProvider") as caught:
        OrtRuntime(path, Placement("cuda"))
    assert "CPUExecutionProvider" in str(caught.value)  # what there is instead
    assert "install 'modelyard[gpu]' in place of 'modelyard[serving]', or choose device 'cpu'" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"junk", bytes(1000)])
def test_a_file_that_is_no_graph_is_refused_by_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(RuntimeFailed, match=f"{path}: onnxruntime cannot load it on 'cpu'"):
        OrtRuntime(path)


def test_a_truncated_graph_is_refused_by_its_name(path: Path, tmp_path: Path) -> None:
    truncated = tmp_path / "model.onnx"
    truncated.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RuntimeFailed, match=f"{truncated}: onnxruntime cannot load it"):
        OrtRuntime(truncated)


def test_a_missing_graph_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailed, match=f"{tmp_path}/model.onnx"):
        OrtRuntime(tmp_path / "model.onnx")


def test_a_graph_with_a_type_that_no_bundle_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailed, match=r"tensor 'x' has type tensor\(double\); supported are "):
        OrtRuntime(write_doubling(tmp_path / "model.onnx", dtype="DOUBLE"))


def test_a_graph_with_an_axis_that_has_no_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailed, match="tensor 'x'"):
        OrtRuntime(write_doubling(tmp_path / "model.onnx", shape=(None, 4)))


@pytest.mark.parametrize(
    ("batch", "brief"),
    [
        ({}, "x"),
        ({"x": rows(2), "z": rows(2)}, "x: float32 [2, 4], z: float32 [2, 4]"),
        ({"x": rows(2).astype(np.float64)}, "x: float64 [2, 4]"),
        ({"x": rows(2)[0]}, "x: float32 [4]"),
        ({"x": rows(2)[:, :3]}, "x: float32 [2, 3]"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_with_what_it_was(
    runtime: OrtRuntime, batch: dict[str, Array], brief: str
) -> None:
    with pytest.raises(RuntimeFailed, match="onnxruntime failed on") as caught:
        runtime.run(batch)
    assert brief in str(caught.value)


def test_a_refused_batch_does_not_spoil_the_next(runtime: OrtRuntime) -> None:
    with pytest.raises(RuntimeFailed):
        runtime.run({"x": rows(2)[0]})
    assert np.array_equal(runtime.run({"x": rows(2)})["y"], rows(2) * 2)


class Broken:
    """A session whose engine fails with these words, one after the other."""

    session = None
    lost = ""

    def __init__(self, *words: str) -> None:
        self._words = list(words)

    def run(self, batch: Tensors) -> Tensors:
        raise RuntimeError(self._words.pop(0))


def test_a_runtime_lives(runtime: OrtRuntime) -> None:
    assert runtime.dead_because == ""


def test_a_batch_that_memory_does_not_hold_is_told_and_the_next_is_computed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = OrtRuntime(path)
    with monkeypatch.context() as patch:
        patch.setattr(runtime, "_on", Broken("Failed to allocate memory for requested buffer of size 32"))
        with pytest.raises(OutOfMemory) as caught:
            runtime.run({"x": rows(2)})
    assert str(caught.value).startswith("onnxruntime failed on x: float32 [2, 4]: Failed to allocate memory")
    assert runtime.dead_because == ""
    assert np.array_equal(runtime.run({"x": rows(2)})["y"], rows(2) * 2)


def test_what_does_not_fit_into_the_hosts_memory_is_out_of_memory(tmp_path: Path) -> None:
    runtime = OrtRuntime(write_endless(tmp_path / "model.onnx"))
    with pytest.raises(OutOfMemory, match=r"onnxruntime failed on x: float32 \[1, 1\]: "):
        runtime.run({"x": np.ones((1, 1), np.float32)})
    assert runtime.dead_because == ""


def test_a_lost_device_is_remembered_with_the_first_cause(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = OrtRuntime(path)
    first = "CUDA failure 700: an illegal memory access was encountered ; GPU=0"
    monkeypatch.setattr(runtime, "_on", Broken(first, "nobody asks again"))
    with pytest.raises(DeviceLost, match="CUDA failure 700"):
        runtime.run({"x": rows(1)})
    assert first in runtime.dead_because
    for _ in range(2):
        with pytest.raises(DeviceLost, match=r"cpu is lost to this process: .*CUDA failure 700"):
            runtime.run({"x": rows(1)})
    assert first in runtime.dead_because


def test_an_execution_that_failed_is_a_loss_only_where_the_device_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = OrtRuntime(path)
    words = "CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED"
    broken = Broken(words, words)
    monkeypatch.setattr(runtime, "_on", broken)
    with pytest.raises(RuntimeFailed, match="EXECUTION_FAILED") as caught:
        runtime.run({"x": rows(1)})
    assert type(caught.value) is RuntimeFailed
    assert runtime.dead_because == ""
    broken.lost = "cuda:0 is lost to this process: cudaErrorLaunchFailure"
    with pytest.raises(DeviceLost, match="EXECUTION_FAILED; cuda:0 is lost to this process: cudaErrorLaunchFailure"):
        runtime.run({"x": rows(1)})
    assert "cudaErrorLaunchFailure" in runtime.dead_because
