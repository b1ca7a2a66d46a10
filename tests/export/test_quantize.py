"""Quantisation: int8 in the middle, fp32 at both ends, a scale a channel."""

import pytest

pytest.importorskip("torch", reason="export needs torch")

from pathlib import Path

import numpy as np
import onnx

from bundle.store import Bundle
from export.quantize import quantize
from runtime.ort import OrtRuntime


@pytest.fixture(scope="session")
def int8(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int8") / "model.int8.onnx"
    made = quantize(tiny_bundle.folder / "model.onnx", path, [sample.inputs for sample in tiny_bundle.golden()])
    assert "calibrated on 16 training samples" in made
    return path


def test_convolutions_read_dequantised_int8(int8: Path) -> None:
    graph = onnx.load(int8).graph
    producers = {name: node.op_type for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            assert [producers[name] for name in node.input[:2]] == ["DequantizeLinear"] * 2


def test_weights_have_a_scale_a_channel_and_both_ends_stay_fp32(int8: Path) -> None:
    graph = onnx.load(int8).graph
    sizes = [int(np.prod(tensor.dims)) for tensor in graph.initializer if tensor.name.endswith("_scale")]
    assert max(sizes) > 1
    assert graph.node[-1].op_type == "Softmax"
    assert {node.op_type for node in graph.node if "image" in node.input} == {"Cast"}


def test_the_file_is_small_and_takes_any_batch(int8: Path, tiny_bundle: Bundle) -> None:
    runtime = OrtRuntime(int8)
    assert runtime.inputs == tiny_bundle.manifest.inputs
    rows = np.stack([sample.inputs["image"] for sample in tiny_bundle.golden()])
    for size in (1, 3, 16):
        scores = runtime.run({"image": rows[:size]})["scores"]
        np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=1e-5)
