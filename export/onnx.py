"""Checkpoint -> model.onnx: one file, weights inside, opset 20, only the batch axis dynamic.

Knows torch.onnx. Knows nothing of proof: what comes out is not believed until export/parity.py has seen it.
"""

import contextlib
import io
import logging
import warnings
from pathlib import Path

import onnx
import torch

from bundle.errors import ParityError
from bundle.tensors import TensorSpec
from training.graph import Graph

OPSET = 20  # 23 and later emit an Attention op that TensorRT's parser does not build; see docs/adr/0005


def export_onnx(graph: Graph, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], path: Path) -> None:
    """Write the graph in evaluation mode, on example inputs of zeros with a batch of 2.

    Raises:
        ParityError: the exporter wrote another opset than it was asked for.
    """
    graph = graph.eval().float().cpu()
    example = tuple(torch.zeros(_example_shape(spec), dtype=getattr(torch, spec.dtype)) for spec in inputs)
    dynamic = tuple({0: str(spec.shape[0])} for spec in inputs)
    with _quiet():
        torch.onnx.export(
            graph,
            example,
            path,
            dynamic_shapes=dynamic,
            input_names=[spec.name for spec in inputs],
            output_names=[spec.name for spec in outputs],
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    written = {entry.domain: entry.version for entry in onnx.load(path, load_external_data=False).opset_import}
    if written.get("") != OPSET:  # for an opset it does not know, the exporter writes an invalid file without a word
        raise ParityError(f"{path.name}: asked for opset {OPSET}, the exporter wrote {written}")


def _example_shape(spec: TensorSpec) -> list[int]:
    return [size if isinstance(size, int) else 2 for size in spec.shape]


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
