"""Checkpoint -> model.onnx: one file, weights inside, opset 20, dynamic where the input specs name an axis.

Knows torch.onnx. Knows nothing of proof: what comes out is not believed until export/parity.py has seen it.
"""

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from bundle.errors import ParityError
from bundle.tensors import TensorSpec

OPSET = 20  # 23 and later emit an Attention op that TensorRT's parser does not build; see docs/adr/0005

EXAMPLE_SIZES = {"batch": 2}  # an axis of 1 would be taken for a constant; equal sizes of two axes for one axis


def export_onnx(module: nn.Module, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], path: Path) -> None:
    """Write a module in evaluation mode, on example inputs of ones; every named axis is traced at its own size.

    Raises:
        ParityError: the exporter wrote another opset than it was asked for.
    """
    module = module.eval().float().cpu()
    example = tuple(torch.ones(_example_shape(spec), dtype=getattr(torch, spec.dtype)) for spec in inputs)
    dynamic = tuple({i: size for i, size in enumerate(spec.shape) if isinstance(size, str)} for spec in inputs)
    with _quiet():
        program: Any = torch.onnx.export(
            module,
            example,
            dynamic_shapes=(dynamic,),  # nested: Graph.forward takes *inputs
            input_names=[spec.name for spec in inputs],
            output_names=[spec.name for spec in outputs],
            opset_version=OPSET,
            verbose=False,
        )
        _keep_names_apart(program)
        _forget_places(program)
        program.save(path, external_data=False)
    written = {entry.domain: entry.version for entry in onnx.load(path, load_external_data=False).opset_import}
    if written.get("") != OPSET:  # for an opset it does not know, the exporter writes an invalid file without a word
        raise ParityError(f"{path.name}: asked for opset {OPSET}, the exporter wrote {written}")


def _keep_names_apart(program: Any) -> None:
    """The exporter names an inner value after its operator (`embedding`), also where an output has that name."""
    graph = program.model.graph
    taken = {value.name for value in (*graph.inputs, *graph.outputs)}
    for value in (value for node in graph for value in node.outputs if not value.is_graph_output()):
        if value.name in taken:
            value.name = f"{value.name}.inner"


def _forget_places(program: Any) -> None:
    """Each node carries the Python stack that made it, with this machine's paths: nobody needs them in a model."""
    for node in program.model.graph:
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)


def _example_shape(spec: TensorSpec) -> list[int]:
    return [size if isinstance(size, int) else EXAMPLE_SIZES.get(size, 16) for size in spec.shape]


@contextlib.contextmanager
def _quiet():  # type: ignore[no-untyped-def]
    """The exporter prints steps and warns of libraries that it does not need; errors are raised all the same."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
