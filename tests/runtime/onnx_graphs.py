"""Tiny ONNX graphs, one for each thing that a runtime must cope with."""

from pathlib import Path
from typing import Any

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


def write_projection(path: Path, weight: Any) -> Path:
    """y = x @ weight."""
    onnx: Any = pytest.importorskip("onnx")
    return _write(
        path,
        [_node("MatMul", ["x", "w"], ["y"], name="head/project")],
        {"x": ("batch", weight.shape[0])},
        {"y": ("batch", weight.shape[1])},
        initializers=[onnx.numpy_helper.from_array(weight, "w")],
    )


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
