"""model.onnx of a transformer -> model.int8.onnx: int8 weights a column, int8 activations a token.

onnxruntime's own dynamic quantiser takes one scale for a whole batch, so an answer would depend on the texts beside it
(MiniLM, alone against 31 others: cosine down to 0.95). Here every token has its own scale: a row in a batch equals the
row alone, at the same speed. Channels that are always large are made smaller first (export/smoothing.py), or the one
scale of a token would leave little of its other channels. Knows the ONNX format. Knows nothing of proof.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from bundle.tensors import Array, Tensors
from export.flow import constants
from export.smoothing import SMOOTHING, TINY, is_product, smoothing

OPSET = 21  # of QuantizeLinear with a scale a token
LEVELS = 127
ZERO_POINT = 128  # CPUs multiply unsigned activations with signed weights fastest
MIN_TABLE_ROWS = 1000
"""Smaller tables (positions, token types) are not worth a rounding."""


def quantize_tokens(source: Path, target: Path, calibration: list[Tensors]) -> str:
    """Write the int8 artefact and say how it was made; `calibration` holds rows as the graph takes them."""
    model = onnx.version_converter.convert_version(onnx.load(source), OPSET)
    weights = constants(model.graph)
    num_products = sum(is_product(node, weights) for node in model.graph.node)
    graph = _Rewriter(weights, smoothing(model, weights, calibration))
    for node in list(model.graph.node):
        graph.add(node)
    _replace(model, graph)
    onnx.save(model, target)
    return (
        f"int8, a scale a token and a column, {num_products} products; "
        f"smoothed by {SMOOTHING} on {len(calibration)} samples"
    )


def _is_table(node: NodeProto, weights: dict[str, Array]) -> bool:
    """A look-up of rows in a large table: embeddings, most of a small transformer's file."""
    table = weights.get(node.input[0]) if node.op_type == "Gather" else None
    by_row = all(attribute.i == 0 for attribute in node.attribute if attribute.name == "axis")
    return table is not None and by_row and table.ndim == 2 and len(table) >= MIN_TABLE_ROWS


@dataclass
class _Rewriter:
    """The new graph's nodes and constants, in order."""

    weights: dict[str, Array]
    smoothing: dict[str, Array]
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(
        default_factory=lambda: {
            "int8.zero": np.array(ZERO_POINT, np.uint8),
            "int8.step": np.array(1 / LEVELS, np.float32),
            "int8.tiny": np.array(TINY, np.float32),
            "int8.one": np.array(1.0, np.float32),
            "int8.last": np.array([-1], np.int64),
        }
    )
    quantized: set[str] = field(default_factory=set)

    def add(self, node: NodeProto) -> None:
        """Take over one node, or what stands for it."""
        if is_product(node, self.weights):
            self._product(node)
        elif _is_table(node, self.weights):
            self._table(node)
        else:
            self.nodes.append(node)

    def _product(self, node: NodeProto) -> None:
        value, weight, product = node.input[0], f"{node.input[1]}.int8", f"{node.output[0]}.int8"
        if value not in self.quantized:
            self.quantized.add(value)
            self._activations(value, len(self.weights[node.input[1]]))
        if weight not in self.constants:
            matrix = self.weights[node.input[1]]
            smooth = matrix * self.smoothing[value][:, None] if value in self.smoothing else matrix
            self.constants[weight], self.constants[f"{weight}.scale"] = _rounded(smooth, axis=0)
        factors = [f"{value}.int8", weight, "int8.one", f"{weight}.scale", "int8.zero"]
        # onnxruntime's own operator; the token's scale is left for the next.
        self._node("MatMulIntegerToFloat", factors, product, domain="com.microsoft")
        self._node("Mul", [product, f"{value}.scale"], node.output[0])

    def _activations(self, value: str, num_channels: int) -> None:
        """float [..., channels] -> uint8 around 128, with a scale [..., 1] of every token's largest size."""
        smooth, scale = value, f"{value}.scale"
        if value in self.smoothing:
            smooth = f"{value}.smooth"
            self.constants[f"{value}.factor"] = 1 / self.smoothing[value]
            self._node("Mul", [value, f"{value}.factor"], smooth)
        self._node("Abs", [smooth], f"{value}.size")
        self._node("ReduceMax", [f"{value}.size", "int8.last"], f"{value}.largest", keepdims=1)
        self._node("Mul", [f"{value}.largest", "int8.step"], f"{value}.step")
        self._node("Max", [f"{value}.step", "int8.tiny"], scale)
        self._node("Shape", [scale], f"{scale}.shape")
        self._node("Expand", ["int8.zero", f"{scale}.shape"], f"{value}.zero")
        quantized = [smooth, scale, f"{value}.zero"]
        self._node("QuantizeLinear", quantized, f"{value}.int8", axis=-1, block_size=num_channels)

    def _table(self, node: NodeProto) -> None:
        """int8 rows and their scales are looked up and multiplied."""
        table, ids, rows = f"{node.input[0]}.int8", node.input[1], f"{node.output[0]}.rows"
        self.constants[table], scale = _rounded(self.weights[node.input[0]], axis=1)
        self.constants[f"{table}.scale"] = scale[:, None]
        self._node("Gather", [table, ids], rows)
        self._node("Cast", [rows], f"{rows}.float", to=TensorProto.FLOAT)
        self._node("Gather", [f"{table}.scale", ids], f"{rows}.scale")
        self._node("Mul", [f"{rows}.float", f"{rows}.scale"], node.output[0])

    def _node(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(op_type, inputs, [output], f"int8.{output}", **attributes))


def _rounded(matrix: Array, axis: int) -> tuple[Array, Array]:
    """int8 and the scales along the other axis."""
    scale = np.maximum(np.abs(matrix).max(axis, keepdims=True), TINY) / LEVELS
    return np.rint(matrix / scale).astype(np.int8), scale.squeeze(axis).astype(np.float32)


def _replace(model: onnx.ModelProto, graph: _Rewriter) -> None:
    """Nodes and constants; weights that nobody reads any more are left out."""
    read = {name for node in graph.nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read | _inner_reads(graph.nodes)]
    kept += [numpy_helper.from_array(array, name) for name, array in graph.constants.items() if name in read]
    del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
    model.graph.node.extend(graph.nodes)
    model.graph.initializer.extend(kept)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def _inner_reads(nodes: Iterable[NodeProto]) -> set[str]:
    """What graphs inside nodes read of the outer one."""
    inner = [attribute.g for node in nodes for attribute in node.attribute if attribute.HasField("g")]
    return {name for graph in inner for node in graph.node for name in node.input}
