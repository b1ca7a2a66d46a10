"""An fp16 file as a CPU can rehearse it: every fp16 value is really rounded to fp16 between two operators.

onnxruntime has no fp16 kernels for x86: it computes in fp32 and leaves out the casts between, so nothing is rounded
and nothing overflows (80,000 goes through an fp16 product unchanged), and a proof on the plain file would show the
rounding of the weights alone. An operator that only moves bytes is run in fp16 as it stands: two of them behind every
fp16 value, one adding an axis and one taking it away, make the engine write the value in fp16. Sums inside an operator
are in fp32, as GPUs have them. Knows the ONNX format. Knows nothing of proof.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper, shape_inference

AXIS = "rehearsal.axis"


def rehearsal(source: Path, target: Path) -> Path:
    """Write the graph of an fp16 file with its rounding made explicit; one without fp16 values stays as it is."""
    model = onnx.load(source)
    inferred = shape_inference.infer_shapes(model).graph
    halves = {one.name for one in inferred.value_info if one.type.tensor_type.elem_type == TensorProto.FLOAT16}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        nodes.append(node)
        for i, name in enumerate(node.output):
            if name in halves:
                node.output[i] = f"{name}.exact"
                nodes.append(helper.make_node("Unsqueeze", [f"{name}.exact", AXIS], [f"{name}.written"]))
                nodes.append(helper.make_node("Squeeze", [f"{name}.written", AXIS], [name]))
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    del rounded.graph.node[:], rounded.graph.value_info[:]
    rounded.graph.node.extend(nodes)
    if halves:
        rounded.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.int64), AXIS))
    onnx.save(rounded, target)
    return target
