"""model.onnx -> model.int8.onnx, in the form that suits the graph: static for convolutions, dynamic for transformers.

Static: uint8 activations and int8 weights, a scale a channel, calibrated on training samples: what CPUs with VNNI run
fastest. Input cast, normalisation and the numeric tail stay fp32. Dynamic (export/quantize_tokens.py): a transformer's
activations vary too much from text to text for a fixed scale (MiniLM: mean cosine 0.93), and a convolution that is
scaled as it comes is slower than fp32 (text CNN, 48 tokens, batch 8: 4 ms against 0.7 ms). Knows onnxruntime's static
quantiser. Knows nothing of proof.
"""

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from bundle.tensors import Array, Tensors, group_alike, stack
from export.flow import numeric_ends
from export.quantize_tokens import quantize_tokens

CALIBRATION_BATCH = 32
QUANTIZED_OPS = ("Conv", "Gemm", "MatMul")
"""Ops whose weights and inputs become int8; with them the ops between (Relu, MaxPool ...) pass int8 through."""


def quantize(source: Path, target: Path, calibration: list[Tensors]) -> str:
    """Write the int8 artefact and say how it was made; `calibration` holds rows as the graph takes them."""
    if is_transformer(onnx.load(source).graph):
        return quantize_tokens(source, target, calibration)
    return quantize_statically(source, target, calibration)


def quantize_statically(source: Path, target: Path, calibration: list[Tensors]) -> str:
    """Fixed scales, found on the calibration rows; the numeric ends stay fp32."""
    model = prepared(onnx.load(source))
    write_qdq(model, target, calibration, activation_type=QuantType.QUInt8, nodes_to_exclude=fp32_ends(model))
    return f"static QDQ, U8S8 a channel, calibrated on {len(calibration)} training samples"


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph as the quantiser wants it; nodes may be joined and renamed."""
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source, target = Path(scratch) / "model.onnx", Path(scratch) / "prepared.onnx"
        onnx.save(model, source)
        # The exporter wrote every shape; the symbolic inference fails on TopK and on two dynamic axes.
        quant_pre_process(str(source), str(target), skip_symbolic_shape=True)
        return onnx.load(target)


def write_qdq(model: onnx.ModelProto, target: Path, calibration: list[Tensors], **options: Any) -> None:
    """Quantise with a scale for every value, and one for every channel of weights; `options` are onnxruntime's."""
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = Path(scratch) / "prepared.onnx"
        onnx.save(model, source)
        quantize_static(
            str(source),
            str(target),
            _Batches(calibration),
            quant_format=QuantFormat.QDQ,
            weight_type=QuantType.QInt8,
            per_channel=True,
            **options,
        )


def fp32_ends(model: onnx.ModelProto) -> list[str]:
    """Nodes before the first and behind the last op that becomes int8."""
    return sorted(numeric_ends(list(model.graph.node), lambda node: node.op_type in QUANTIZED_OPS))


def is_transformer(graph: onnx.GraphProto) -> bool:
    """Embeddings, and products of activations with each other as attention has them; no convolutions."""
    ops = {node.op_type for node in graph.node}
    weights = {weight.name for weight in graph.initializer}
    attends = any(node.op_type == "MatMul" and not weights & set(node.input) for node in graph.node)
    return attends and "Gather" in ops and "Conv" not in ops


class _Batches(CalibrationDataReader):
    """The calibration inputs, a batch at a time, as the quantiser asks for them."""

    def __init__(self, calibration: list[Tensors]) -> None:
        self._batches = _split(calibration)

    def get_next(self) -> dict[str, Array] | None:
        return next(self._batches, None)


def _split(calibration: list[Tensors]) -> Iterator[Tensors]:
    for alike in group_alike(calibration):
        for start in range(0, len(alike), CALIBRATION_BATCH):
            yield stack([calibration[i] for i in alike[start : start + CALIBRATION_BATCH]])
