"""Which nodes of a graph stay fp32 in its fp16 artefact, each with its reason.

fp16 has 11 bits, the largest number is 65504, and below 0.00006 it loses bits. Convolutions, products and tables are
made for it; sums over many elements, choices between near values and what is not of the network's own scale are not.
Knows the ONNX format and its operators. Knows nothing of how a graph is rewritten.
"""

import numpy as np
import onnx
from onnx import NodeProto

from bundle.tensors import Array, Tensors
from export.flow import constants, numeric_ends, until
from export.probe import probe

LARGEST = float(np.finfo(np.float16).max)
SMALLEST = float(np.finfo(np.float16).smallest_normal)
HEADROOM = 8
"""Values of unseen inputs may be this many times larger than on the rows that were probed."""
NUM_PROBED = 32

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "GRU", "LSTM", "MatMul", "RNN")
SUMS = (
    *("AveragePool", "CumSum", "GlobalAveragePool", "GlobalLpPool", "GroupNormalization", "InstanceNormalization"),
    *("LayerNormalization", "LogSoftmax", "LpNormalization", "LpPool", "MeanVarianceNormalization", "ReduceL1"),
    *("ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
    *("RMSNormalization", "Softmax"),
)
"""They add up many elements, or divide by such a sum: LayerNorm adds up squares, and 256 squared is too large."""
SENSITIVE = (
    *("ArgMax", "ArgMin", "Exp", "GridSample", "NonMaxSuppression", "OneHot", "Pow", "Range", "RoiAlign", "TopK"),
    *("Cast", "ConstantOfShape", "EyeLike", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
)
"""Choices between values that fp16 may make equal, powers, coordinates, and what makes floats of something else."""
BOUNDED = ("Clip", "Erf", "HardSigmoid", "Sigmoid", "Softmax", "Tanh")
"""What comes out of them is small, however large it was before."""

ENDS = "the numeric ends"
TOO_LARGE = "beyond fp16's range"
TOO_SMALL = "constants under fp16's resolution"
BY_TYPE = "sums over many elements and choices between near values"


def kept_fp32(model: onnx.ModelProto, floats: set[str], rows: list[Tensors]) -> dict[str, str]:
    """Node name -> why it stays fp32. `floats` are the names of float values, `rows` what the graph is probed with."""
    nodes, weights = list(model.graph.node), constants(model.graph)
    follows = floats.__contains__
    huge = {node.name for node in nodes if any(_overflows(weights[name]) for name in node.input if name in weights)}
    grown = _too_large(model, floats - weights.keys(), rows)
    reasons = (
        (ENDS, numeric_ends(nodes, lambda node: has_weights(node, weights))),
        (TOO_LARGE, until(nodes, huge, lambda node: node.op_type in BOUNDED, follows)),
        (TOO_LARGE, {node.name for node in nodes if grown.intersection((*node.input, *node.output))}),
        (TOO_SMALL, {node.name for node in nodes if any(_vanishes(weights.get(name)) for name in node.input)}),
        (BY_TYPE, {node.name for node in nodes if node.op_type in (*SUMS, *SENSITIVE)}),
    )
    kept: dict[str, str] = {}
    for reason, names in reasons:
        for name in names:
            kept.setdefault(name, reason)
    return kept


def has_weights(node: NodeProto, weights: dict[str, Array]) -> bool:
    """An op that the network's size lies in: a convolution, a product, a look-up in a table."""
    table = weights.get(node.input[0]) if node.op_type == "Gather" else None
    return node.op_type in WEIGHTED or (table is not None and table.dtype == np.float32 and table.ndim > 1)


def _overflows(array: Array) -> bool:
    """Some number is finite, and would not be."""
    return array.dtype == np.float32 and bool((np.isfinite(array) & (np.abs(array) > LARGEST)).any())


def _vanishes(array: Array | None) -> bool:
    """All of it is so small that bits are lost: an epsilon, not the small ones among a layer's weights."""
    if array is None or array.dtype != np.float32 or not array.any():
        return False
    return float(np.abs(array).max()) < SMALLEST


def _too_large(model: onnx.ModelProto, names: set[str], rows: list[Tensors]) -> set[str]:
    """Values that came near fp16's largest on the rows."""
    step = max(1, len(rows) // NUM_PROBED)
    found: set[str] = set()
    for name, value in probe(model, names, rows[::step][:NUM_PROBED]):
        finite = value[np.isfinite(value)]
        if finite.size and np.abs(finite).max() > LARGEST / HEADROOM:
            found.add(name)
    return found
