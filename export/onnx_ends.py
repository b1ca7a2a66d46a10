"""The two ends that many graphs leave to their caller, put into the graph: normalised float pictures, and softmax.

Each is given twice: as nodes, and in numpy for what the file as it came is asked. Knows the ONNX format and numpy.
"""

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from bundle.tensors import Array, TensorSpec
from export.import_spec import FloatPictures


def float_input(spec: TensorSpec, pictures: FloatPictures) -> TensorSpec:
    """What the graph must take so that `put_before` can feed it."""
    batch, height_px, width_px, channels = spec.shape
    nchw = (batch, channels, height_px, width_px)
    return TensorSpec(name=spec.name, dtype="float32", shape=nchw if pictures.layout == "NCHW" else spec.shape)


def put_before(model: onnx.ModelProto, spec: TensorSpec, pictures: FloatPictures) -> None:
    """uint8 [batch, height, width, channels] named as before -> cast, normalise, lay out -> what the graph takes.

    Cast first: TensorRT takes uint8 only as the input of a cast.
    """
    graph, inner = model.graph, f"{spec.name}.normalised"
    for node in graph.node:
        node.input[:] = [inner if name == spec.name else name for name in node.input]
    steps = [
        ("Cast", []),
        ("Sub", [_constant(graph, "mean", pictures.mean)]),
        ("Div", [_constant(graph, "std", pictures.std)]),
    ]
    steps += [("Transpose", [])] if pictures.layout == "NCHW" else []
    names = [spec.name, *(f"{spec.name}.{op_type.lower()}" for op_type, _ in steps[:-1]), inner]
    attributes: dict[str, dict[str, Any]] = {
        "Cast": {"to": onnx.TensorProto.FLOAT},
        "Transpose": {"perm": [0, 3, 1, 2]},
    }
    nodes = [
        helper.make_node(
            op_type, [names[i], *constants], [names[i + 1]], f"stem.{op_type}", **attributes.get(op_type, {})
        )
        for i, (op_type, constants) in enumerate(steps)
    ]
    old = list(graph.node)
    del graph.node[:], graph.input[:]
    graph.node.extend([*nodes, *old])
    graph.input.append(helper.make_tensor_value_info(spec.name, onnx.TensorProto.UINT8, spec.shape))


def put_behind(model: onnx.ModelProto, output: TensorSpec) -> None:
    """The output that was there gets a softmax behind it and leaves it its name."""
    graph, logits = model.graph, f"{output.name}.logits"
    for node in graph.node:
        node.input[:] = [logits if name == output.name else name for name in node.input]
        node.output[:] = [logits if name == output.name else name for name in node.output]
    graph.node.append(helper.make_node("Softmax", [logits], [output.name], "tail.Softmax", axis=1))


def normalise(image_HWC: Array, pictures: FloatPictures) -> Array:
    """What `put_before` does, for one uint8 picture."""
    mean, std = np.array(pictures.mean, np.float32), np.array(pictures.std, np.float32)
    normalised = (image_HWC.astype(np.float32) - mean) / std
    return normalised.transpose(2, 0, 1) if pictures.layout == "NCHW" else normalised


def softmax(logits: Array) -> Array:
    """What `put_behind` does, for one row."""
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def _constant(graph: onnx.GraphProto, name: str, values: tuple[float, ...]) -> str:
    tensor = numpy_helper.from_array(np.array(values, np.float32), f"stem.{name}")
    graph.initializer.append(tensor)
    return tensor.name
