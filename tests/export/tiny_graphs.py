"""ONNX graphs of one or two nodes, each of a kind that TensorRT builds or refuses."""

from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8
LAYER = {
    "pkg.torch.onnx.name_scopes": "['', 'network', 'network.head', 'conv2d']",
    "pkg.torch.onnx.class_hierarchy": "['training.graph.Graph', 'training.architectures.mlp.Mlp', "
    "'torch.nn.modules.conv.Conv2d', 'aten.conv2d.default']",
}
"""What torch.onnx writes beside a node."""


def save(path: Path, model: ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def graph(
    nodes: list[NodeProto],
    inputs: dict[str, tuple[int, list[Any]]],
    constants: dict[str, Any] | None = None,
    outputs: dict[str, tuple[int, list[Any]]] | None = None,
    opset: int = 20,
) -> ModelProto:
    """A model of these nodes; every one has the layer above. Its output is `y`, float [batch, 4]."""
    for node in nodes:
        for key, value in LAYER.items():
            node.metadata_props.add(key=key, value=value)
    outputs = outputs or {"y": (FLOAT, ["batch", 4])}
    declared = [[helper.make_tensor_value_info(n, *form) for n, form in side.items()] for side in (inputs, outputs)]
    initialisers = [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()]
    domains = sorted({node.domain for node in nodes} - {""})
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    made = helper.make_graph(nodes, "graph", *declared, initialisers)
    return helper.make_model(made, opset_imports=imports, ir_version=10)


def node(op_type: str, inputs: str, outputs: str, name: str, **attributes: Any) -> NodeProto:
    """Names of tensors are parted by blanks; "-" is one left out."""
    read = ["" if one == "-" else one for one in inputs.split()]
    return helper.make_node(op_type, read, outputs.split(), name, **attributes)


ROW = {"x": (FLOAT, ["batch", 4])}


def relu() -> ModelProto:
    return graph([node("Relu", "x", "y", "bend")], ROW)


def product() -> ModelProto:
    """Wants more scratch memory than 1 MiB."""
    return graph([node("MatMul", "x w", "y", "multiply")], ROW, {"w": np.ones((4, 4), np.float32)})


def uint8_turned() -> ModelProto:
    nodes = [node("Transpose", "x", "t", "turn", perm=[0, 1]), node("Cast", "t", "y", "to_float", to=FLOAT)]
    return graph(nodes, {"x": (UINT8, ["batch", 4])})


def zero_point() -> ModelProto:
    nodes = [node("QuantizeLinear", "x s z", "q", "to_int8"), node("DequantizeLinear", "q s z", "y", "from_int8")]
    return graph(nodes, ROW, {"s": np.float32(0.1), "z": np.int8(3)})


def int32_bias() -> ModelProto:
    nodes = [node("DequantizeLinear", "b s", "bias", "bias_from_int32"), node("Add", "x bias", "y", "shift")]
    return graph(nodes, ROW, {"b": np.arange(4, dtype=np.int32), "s": np.float32(0.1)})


def non_max_suppression() -> ModelProto:
    nodes = [
        node("NonMaxSuppression", "boxes scores most iou", "kept", "suppress"),
        node("Cast", "kept", "y", "to_float", to=FLOAT),
    ]
    inputs = {"boxes": (FLOAT, ["batch", 10, 4]), "scores": (FLOAT, ["batch", 3, 10])}
    constants = {"most": np.array([5]), "iou": np.array([0.5], np.float32)}
    return graph(nodes, inputs, constants, {"y": (FLOAT, ["kept", 3])})


def non_zero() -> ModelProto:
    nodes = [node("NonZero", "x", "at", "find"), node("Cast", "at", "y", "to_float", to=FLOAT)]
    return graph(nodes, ROW, outputs={"y": (FLOAT, [2, "found"])})


def antialiased() -> ModelProto:
    nodes = [node("Resize", "x - s", "y", "shrink", antialias=1, mode="linear")]
    form = (FLOAT, ["batch", 3, 8, 8])
    scales = {"s": np.array([1, 1, 0.5, 0.5], np.float32)}
    return graph(nodes, {"x": form}, scales, {"y": (FLOAT, ["batch", 3, 4, 4])})


def attention() -> ModelProto:
    form = (FLOAT, ["batch", 2, 6, 8])
    inputs = dict.fromkeys(("q", "k", "v"), form)
    return graph([node("Attention", "q k v", "y", "attend")], inputs, outputs={"y": form}, opset=23)


def own_operator() -> ModelProto:
    return graph([node("Sharpen", "x", "y", "sharpen", domain="our.ops")], ROW)


def dynamic_int8() -> ModelProto:
    nodes = [node("DynamicQuantizeLinear", "x", "q s z", "scale"), node("DequantizeLinear", "q s z", "y", "back")]
    return graph(nodes, ROW)


def mixed_types() -> ModelProto:
    return graph([node("Add", "x h", "y", "plus")], ROW, {"h": np.ones(4, np.float16)})
