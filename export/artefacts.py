"""The artefacts of a bundle, made and not yet proven: fp32 from torch, the others from fp32.

Knows exporters and quantisers. Knows nothing of proof.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from bundle.device import DeviceKind
from bundle.errors import RuntimeFailed, UnusableModel
from bundle.manifest import Artefact, LeftOut
from bundle.tensors import Tensors, TensorSpec
from export.fp16 import convert_to_fp16
from export.onnx import OPSET, export_onnx
from export.quantize import quantize
from export.quantize_trt import quantize_for_tensorrt
from export.tolerance import tolerance

REFERENCE = "fp32"
REFERENCE_FILE = "model.onnx"
ALL_DEVICES: tuple[DeviceKind, ...] = ("cpu", "cuda")


@dataclass(frozen=True)
class Derived:
    """What is made of the fp32 file."""

    file: str
    precision: Literal["fp16", "int8"]
    device: DeviceKind
    make: Callable[[Path, Path, list[Tensors]], str]
    """(model.onnx, the new file, calibration rows) -> how it was made."""


DERIVED = {
    "int8": Derived("model.int8.onnx", "int8", "cpu", quantize),
    "fp16": Derived("model.fp16.onnx", "fp16", "cuda", convert_to_fp16),
    "int8-trt": Derived("model.int8-trt.onnx", "int8", "cuda", quantize_for_tensorrt),
}
"""By the artefact's name."""


@dataclass(frozen=True)
class Made:
    """What there is, and what could not be made."""

    artefacts: dict[str, Artefact]
    left_out: tuple[LeftOut, ...] = ()


def make_artefacts(
    module: nn.Module,
    folder: Path,
    task: str,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    calibration: list[Tensors],
    devices: Sequence[DeviceKind] = ALL_DEVICES,
) -> Made:
    """Write model.onnx, and what is for these devices; `calibration` holds rows of training inputs."""
    export_onnx(module, inputs, outputs, folder / REFERENCE_FILE)
    reference = reference_artefact(task, f"torch.onnx.export, opset {OPSET}, torch {torch.__version__}")
    names = [name for name, one in DERIVED.items() if one.device in devices]
    return derive(reference, folder, task, calibration, names)


def reference_artefact(task: str, made: str) -> Artefact:
    """The fp32 artefact that every other is compared with for speed."""
    return Artefact(
        file=REFERENCE_FILE, runtime="onnxruntime", precision="fp32", made=made, atol=tolerance(task, "fp32").atol
    )


def derive(reference: Artefact, folder: Path, task: str, calibration: list[Tensors], names: Sequence[str]) -> Made:
    """The reference, and these artefacts of it; one that cannot be made is left out with the reason."""
    artefacts, left_out = {REFERENCE: reference}, []
    for name in names:
        one = DERIVED[name]
        try:
            made = one.make(folder / reference.file, folder / one.file, calibration)
        except (RuntimeFailed, UnusableModel) as cause:
            (folder / one.file).unlink(missing_ok=True)
            left_out.append(LeftOut(artefact=name, reason=f"cannot be made: {cause}"))
            continue
        artefacts[name] = Artefact(
            file=one.file,
            runtime="onnxruntime",
            precision=one.precision,
            device=one.device,
            made=made,
            atol=tolerance(task, name).atol,
        )
    return Made(artefacts, tuple(left_out))
