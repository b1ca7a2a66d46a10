"""int8 as TensorRT takes it: zero points of 0, no quantised bias, a scale a channel; what has outliers stays fp32."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

pytest.importorskip("torch", reason="export needs torch")

from bundle.errors import UnusableModel
from bundle.store import Bundle
from bundle.tensors import Array, Tensors
from export import quantize_trt as module
from export.quantize import quantize
from export.quantize_trt import quantize_for_tensorrt
from runtime.ort import OrtRuntime

ROWS, DIM, WIDE = 40, 32, 64


@pytest.fixture(scope="session")
def convolutional(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trt") / "model.int8-trt.onnx"
    made = quantize_for_tensorrt(
        tiny_bundle.folder / "model.onnx", path, [sample.inputs for sample in tiny_bundle.golden()]
    )
    assert "S8S8 a channel, symmetric, fp32 ends; calibrated on 16 samples" in made
    return path


@pytest.fixture
def texts() -> list[Tensors]:
    rng = np.random.default_rng(1)
    return [{"input_ids": rng.integers(0, ROWS, 12)} for _ in range(16)]


def write_attention(path: Path, outlier: float = 1.0) -> Path:
    """Embeddings, attention of one head, and a feed-forward whose inner value has one number that is far larger."""
    rng = np.random.default_rng(0)
    shapes = {"table": (ROWS, DIM), "q": (DIM, DIM), "k": (DIM, DIM), "up": (DIM, WIDE), "down": (WIDE, DIM)}
    weights = {name: (rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32) for name, shape in shapes.items()}
    weights["table"][:] = rng.normal(size=(ROWS, DIM))
    weights["peak"] = np.zeros((ROWS, WIDE), np.float32)
    weights["peak"][np.arange(ROWS), rng.permutation(WIDE)[:ROWS]] = outlier  # never twice in a channel: no smoothing
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["x"], "look-up"),
        helper.make_node("MatMul", ["x", "q"], ["queries"], "queries"),
        helper.make_node("MatMul", ["x", "k"], ["keys"], "keys"),
        helper.make_node("Transpose", ["keys"], ["turned"], "turned", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["queries", "turned"], ["scores"], "scores"),
        helper.make_node("Softmax", ["scores"], ["shares"], "softmax"),
        helper.make_node("MatMul", ["shares", "x"], ["mixed"], "mixed"),
        helper.make_node("MatMul", ["mixed", "up"], ["high"], "up"),
        helper.make_node("Gather", ["peak", "input_ids"], ["peaks"], "peaks"),
        helper.make_node("Add", ["high", "peaks"], ["wide"], "add"),
        helper.make_node("MatMul", ["wide", "down"], ["out"], "down"),
    ]
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ("batch", "tokens"))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ("batch", "tokens", DIM))],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def scaled(path: Path) -> list[tuple[NodeProto, list[Array | None]]]:
    """Nodes that quantise or scale back, with those of their inputs that the file holds."""
    graph = onnx.load(path).graph
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return [
        (node, [held.get(name) for name in node.input])
        for node in graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    ]


def int8_products(path: Path) -> set[str]:
    graph = onnx.load(path).graph
    back = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    return {node.name for node in graph.node if node.op_type == "MatMul" and back.issuperset(node.input)}


def run(path: Path, texts: list[Tensors]) -> Array:
    return OrtRuntime(path).run({"input_ids": np.stack([row["input_ids"] for row in texts])})["out"]


def test_every_zero_point_is_zero_and_no_bias_is_quantised(convolutional: Path) -> None:
    nodes = scaled(convolutional)
    assert nodes
    for node, (given, _, zero) in nodes:
        assert zero is not None, node.name
        assert zero.dtype == np.int8
        assert not zero.any()
        assert given is None or given.dtype == np.int8


def test_weights_have_a_scale_a_channel(convolutional: Path) -> None:
    weights = [(given, scale) for _, (given, scale, _) in scaled(convolutional) if given is not None]
    assert len(weights) >= 2
    for given, scale in weights:
        assert scale is not None
        assert scale.size in given.shape
        assert scale.size > 1


def test_the_tail_stays_fp32_and_the_ends_are_what_they_were(convolutional: Path, tiny_bundle: Bundle) -> None:
    graph = onnx.load(convolutional).graph
    assert graph.node[-1].op_type == "Softmax"
    assert {node.op_type for node in graph.node if "image" in node.input} == {"Cast"}
    runtime = OrtRuntime(convolutional)
    assert (runtime.inputs, runtime.outputs) == (tiny_bundle.manifest.inputs, tiny_bundle.manifest.outputs)


def test_of_a_transformer_only_products_with_weights_are_int8(tmp_path: Path, texts: list[Tensors]) -> None:
    source, target = write_attention(tmp_path / "model.onnx"), tmp_path / "int8-trt.onnx"
    made = quantize_for_tensorrt(source, target, texts)
    assert int8_products(target) == {"queries", "keys", "up", "down"}
    assert "4 of 4 products" in made
    expected, got = run(source, texts), run(target, texts)
    assert np.linalg.norm(got - expected) < 0.05 * np.linalg.norm(expected)


def test_a_product_whose_input_has_an_outlier_stays_fp32(tmp_path: Path, texts: list[Tensors]) -> None:
    source, target = write_attention(tmp_path / "model.onnx", outlier=300.0), tmp_path / "int8-trt.onnx"
    limit = module.MAX_OUTLIER
    assert "3 of 4 products" in quantize_for_tensorrt(source, target, texts)
    assert int8_products(target) == {"queries", "keys", "up"}
    careful = np.linalg.norm(run(target, texts) - run(source, texts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_OUTLIER", 100 * limit)
        quantize_for_tensorrt(source, target, texts)
    assert int8_products(target) == {"queries", "keys", "up", "down"}
    assert careful < 0.5 * np.linalg.norm(run(target, texts) - run(source, texts))


def test_a_transformer_of_nothing_but_outliers_is_refused(
    tmp_path: Path, texts: list[Tensors], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_OUTLIER", 0.1)
    with pytest.raises(UnusableModel, match="no product's input is free of outliers: the least has"):
        quantize_for_tensorrt(write_attention(tmp_path / "model.onnx"), tmp_path / "out.onnx", texts)


def test_what_tensorrt_would_refuse_is_not_handed_out(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """The CPU's form has other zero points and quantised biases."""
    quantize(tiny_bundle.folder / "model.onnx", tmp_path / "u8s8.onnx", [one.inputs for one in tiny_bundle.golden()])
    with pytest.raises(UnusableModel, match=r"its zero point is not 0|a quantised bias"):
        module.check_for_tensorrt(tmp_path / "u8s8.onnx")
