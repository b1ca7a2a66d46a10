"""Tiny ONNX graphs, one for each thing that a runtime must cope with."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

Axes = tuple[int | str | None, ...]


def write_doubling(path: Path, shape: Axes = ("batch", 4), dtype: str = "FLOAT") -> Path:
    """y = x + x."""
    return _write(path, [_node("Add", ["x", "x"], ["y"])], {"x": shape}, {"y": shape}, dtype)


def write_sum(path: Path) -> Path:
    """total = x + z, where both have the same axes; parts = x and z one after the other, as long as both."""
    nodes = [_node("Add", ["x", "z"], ["total"]), _node("Concat", ["x", "z"], ["parts"], axis=1)]
    axes: Axes = ("batch", "time")
    return _write(path, nodes, {"x": axes, "z": axes}, {"total": axes, "parts": ("batch", "time + time")})


def write_positive(path: Path) -> Path:
    """where = the places of positive numbers: as many as there are."""
    nodes = [
        _node("Relu", ["x"], ["r"]),
        _node("NonZero", ["r"], ["where"]),
        _node("Add", ["x", "x"], ["y"]),
    ]
    return _write(path, nodes, {"x": ("batch", 4)}, {"where": (2, "found"), "y": ("batch", 4)}, integers=("where",))


def write_endless(path: Path) -> Path:
    """y = x, more often than any memory holds."""
    onnx: Any = pytest.importorskip("onnx")
    times = onnx.numpy_helper.from_array(np.array([1, 1 << 46]), "times")
    shapes: tuple[dict[str, Axes], dict[str, Axes]] = {"x": ("batch", 1)}, {"y": ("batch", 1 << 46)}
    return _write(path, [_node("Expand", ["x", "times"], ["y"])], *shapes, initializers=[times])


def write_network(path: Path, num_hidden: int = 64, num_channels: int = 3) -> Path:
    """scores = softmax of two layers over a convolution of small pictures; weights are drawn from a fixed seed."""
    onnx: Any = pytest.importorskip("onnx")
    random = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> Any:
        return onnx.numpy_helper.from_array(random.standard_normal(shape).astype(np.float32) * 0.1, name)

    nodes = [
        _node("Conv", ["x", "w0"], ["c"], name="stem/conv", pads=[1, 1, 1, 1]),
        _node("GlobalAveragePool", ["c"], ["p"]),
        _node("Flatten", ["p"], ["f"]),
        _node("MatMul", ["f", "w1"], ["h"], name="hidden/project"),
        _node("Relu", ["h"], ["r"]),
        _node("MatMul", ["r", "w2"], ["l"], name="head/project"),
        _node("Softmax", ["l"], ["scores"]),
    ]
    weights = [weight("w0", 8, num_channels, 3, 3), weight("w1", 8, num_hidden), weight("w2", num_hidden, 5)]
    return _write(path, nodes, {"x": ("batch", num_channels, 16, 16)}, {"scores": ("batch", 5)}, initializers=weights)


def _node(op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
    onnx: Any = pytest.importorskip("onnx")
    return onnx.helper.make_node(op, inputs, outputs, **attributes)


def _write(
    path: Path,
    nodes: list[Any],
    inputs: dict[str, Axes],
    outputs: dict[str, Axes],
    dtype: str = "FLOAT",
    integers: tuple[str, ...] = (),
    initializers: Any = (),
) -> Path:
    onnx: Any = pytest.importorskip("onnx")

    def info(name: str, shape: Axes) -> Any:
        kind = "INT64" if name in integers else dtype
        return onnx.helper.make_tensor_value_info(name, getattr(onnx.TensorProto, kind), shape)

    graph = onnx.helper.make_graph(
        nodes,
        "graph",
        [info(*one) for one in inputs.items()],
        [info(*one) for one in outputs.items()],
        list(initializers),
    )
    opset = onnx.helper.make_opsetid("", 20)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10), path)
    return path
