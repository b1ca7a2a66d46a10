"""model.onnx -> model.int8-trt.onnx: int8 as TensorRT takes it, S8S8 and symmetric, with every zero point 0.

TensorRT's parser refuses other zero points and quantised biases, and a CPU is no faster with this form than with fp32;
so CPUs have a file of their own (export/quantize.py). Scales are fixed, found on calibration rows: convolutional graphs
as a whole but for their numeric ends, transformers in their products with weights alone, smoothed first; the scores of
attention, embeddings and what is added stay fp32. A product whose input has outliers stays fp32 too: one scale for all
of it would leave little of the rest. Knows the ONNX format and onnxruntime's quantiser. Knows nothing of proof.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import QuantType

from bundle.errors import UnusableModel
from bundle.tensors import Tensors
from export.flow import constants, name_nodes
from export.probe import probe
from export.quantize import fp32_ends, is_transformer, prepared, write_qdq
from export.smoothing import is_product, smooth, smoothing

OPTIONS: dict[str, Any] = {
    "activation_type": QuantType.QInt8,
    "extra_options": {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
}
SMOOTHING = 0.8
"""Share of a channel's size that moves into the weights, where the scale is fixed. MiniLM's lowest cosine to fp32 on
160 SST-2 sentences: 0.9598 without, 0.9857 at 0.6, 0.9914 at 0.8."""
MAX_OUTLIER = 7.0
"""Largest value of a product's input over its root mean square for which 127 levels are enough. MiniLM, smoothed, on 64
texts: 4.7 to 7.2 for 30 products and 11 to 26 for the second of each feed-forward. With all 36 the mean cosine to fp32
falls to 0.85; up to 10 (30 products) it is 0.9966, the lowest 0.985; up to 7 (25) 0.9987 and 0.9947; up to 6 (21)
0.9991 and 0.9962."""


def quantize_for_tensorrt(source: Path, target: Path, calibration: list[Tensors]) -> str:
    """Write the artefact and say how it was made; `calibration` holds rows as the graph takes them.

    Raises:
        UnusableModel: the quantiser wrote what TensorRT does not take.
    """
    model = onnx.load(source)
    name_nodes(model.graph)
    quantize = _products if is_transformer(model.graph) else _whole
    made = quantize(model, target, calibration)
    _check(target)
    return f"static QDQ for TensorRT, S8S8 a channel, symmetric, {made}; calibrated on {len(calibration)} samples"


def _whole(model: onnx.ModelProto, target: Path, calibration: list[Tensors]) -> str:
    model = prepared(model)
    write_qdq(model, target, calibration, nodes_to_exclude=fp32_ends(model), **OPTIONS)
    return "fp32 ends"


def _products(model: onnx.ModelProto, target: Path, calibration: list[Tensors]) -> str:
    smooth(model, smoothing(model, constants(model.graph), calibration, SMOOTHING))
    model = prepared(model)
    weights = constants(model.graph)
    products = [node for node in model.graph.node if is_product(node, weights)]
    outliers = _outliers(model, {node.input[0] for node in products}, calibration)
    chosen = [node.name for node in products if outliers[node.input[0]] <= MAX_OUTLIER]
    if not chosen:
        raise UnusableModel(f"no product's input is free of outliers: the least has {min(outliers.values()):.1f}")
    write_qdq(model, target, calibration, op_types_to_quantize=["MatMul"], nodes_to_quantize=chosen, **OPTIONS)
    return f"{len(chosen)} of {len(products)} products with weights (the others have outliers), smoothed by {SMOOTHING}"


def _outliers(model: onnx.ModelProto, names: set[str], calibration: list[Tensors]) -> dict[str, float]:
    """The largest of all numbers that a value takes on the rows, over their root mean square."""
    largest = dict.fromkeys(names, 0.0)
    squares: dict[str, list[float]] = {name: [] for name in names}
    for name, value in probe(model, names, calibration):
        largest[name] = max(largest[name], float(np.abs(value).max(initial=0)))
        squares[name].append(float(np.mean(np.square(value, dtype=np.float64))))
    return {name: largest[name] / max(float(np.sqrt(np.mean(squares[name]))), 1e-12) for name in names}


def _check(target: Path) -> None:
    """What TensorRT's parser would refuse is not written."""
    graph = onnx.load(target).graph
    tensors = constants(graph)
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        zero = tensors.get(node.input[2]) if len(node.input) > 2 else None
        if zero is not None and zero.any():
            raise UnusableModel(f"{node.op_type} '{node.name}': its zero point is not 0")
        given = tensors.get(node.input[0])
        if given is not None and given.dtype == np.int32:
            raise UnusableModel(f"{node.op_type} '{node.name}': a quantised bias")
