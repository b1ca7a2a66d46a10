"""What values a graph takes inside on given rows. Knows onnxruntime. Knows nothing of why it is asked."""

from collections.abc import Iterator

import onnx
import onnxruntime as ort
from onnx import helper

from bundle.errors import RuntimeFailed
from bundle.tensors import Array, Tensors, stack
from export.onnx_file import first_line

ERRORS_ONLY = 3  # onnxruntime's log severity: what matters is raised


def probe(model: onnx.ModelProto, names: set[str], rows: list[Tensors]) -> Iterator[tuple[str, Array]]:
    """Every one of these inner values, row by row.

    Raises:
        RuntimeFailed: onnxruntime cannot load or run it.
    """
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    outputs = {value.name for value in model.graph.output}
    wanted = sorted(names)
    probed.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in wanted if name not in outputs)
    options = ort.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    try:
        session = ort.InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for row in rows:
            yield from zip(wanted, session.run(wanted, stack([row])), strict=True)
    except Exception as cause:
        raise RuntimeFailed(f"onnxruntime cannot run the graph to look inside: {first_line(cause)}") from cause
