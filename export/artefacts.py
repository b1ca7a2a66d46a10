"""The artefacts of a bundle, made and not yet proven: fp32 from torch, int8 from fp32.

Knows exporters and quantisers. Knows nothing of proof.
"""

from pathlib import Path

import torch
from torch import nn

from bundle.manifest import Artefact
from bundle.tensors import Tensors, TensorSpec
from export.onnx import OPSET, export_onnx
from export.quantize import quantize
from export.tolerance import tolerance

REFERENCE = "fp32"
REFERENCE_FILE = "model.onnx"
INT8_FILE = "model.int8.onnx"


def make_artefacts(
    module: nn.Module,
    folder: Path,
    task: str,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    calibration: list[Tensors],
) -> dict[str, Artefact]:
    """Write model.onnx and model.int8.onnx; `calibration` holds rows of training inputs."""
    export_onnx(module, inputs, outputs, folder / REFERENCE_FILE)
    made = quantize(folder / REFERENCE_FILE, folder / INT8_FILE, calibration)
    return {
        REFERENCE: reference_artefact(task, f"torch.onnx.export, opset {OPSET}, torch {torch.__version__}"),
        "int8": Artefact(
            file=INT8_FILE, runtime="onnxruntime", precision="int8", made=made, atol=tolerance(task, "int8").atol
        ),
    }


def reference_artefact(task: str, made: str) -> Artefact:
    """The fp32 artefact that every other is compared with for speed."""
    return Artefact(
        file=REFERENCE_FILE, runtime="onnxruntime", precision="fp32", made=made, atol=tolerance(task, "fp32").atol
    )
