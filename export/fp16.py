"""model.onnx -> model.fp16.onnx: the network in fp16, what does not bear it in fp32, and the same inputs and outputs.

Not by onnxruntime's own converter: where two fp32 nodes read one fp16 value it writes a Cast twice under one name,
which onnxruntime then refuses (1.31.1); between two fp32 nodes it rounds to fp16 and back; and it clips what is too
large or too small without a word. Here a value has at most two forms, made where they are needed, and every constant
is rounded to the nearest or stays as it is. Knows the ONNX format. Knows nothing of proof.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper, shape_inference

from bundle.errors import UnusableModel
from bundle.tensors import Array, Tensors
from export.flow import constants, gather_constants, has_inner_graphs, name_nodes
from export.fp16_kept import kept_fp32
from export.onnx_file import first_line

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
QUANTISED = ("DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QuantizeLinear")
HALF_NAME = "tensor(float16)"  # as operators' schemas write it


def convert_to_fp16(source: Path, target: Path, calibration: list[Tensors]) -> str:
    """Write the fp16 artefact and say how it was made; `calibration` holds rows as the graph takes them.

    Raises:
        UnusableModel: a graph that is not understood well enough: loops, branches, or operators of unknown types.
    """
    model = onnx.load(source)
    gather_constants(model.graph)
    name_nodes(model.graph)
    floats = _floats(model)
    kept = kept_fp32(model, floats, calibration)
    made = _made(model, floats, kept)
    graph = _Rewriter(model, floats, kept)
    try:
        for node in model.graph.node:
            graph.add(node)
        onnx.save(graph.finished(), target)
    except (onnx.checker.ValidationError, onnx.defs.SchemaError) as cause:
        raise UnusableModel(f"its graph cannot be written in fp16: {first_line(cause)}") from cause
    return made


def _floats(model: onnx.ModelProto) -> set[str]:
    """Names of all float32 values. The exporter's own notes on shapes are left aside: they name constants too."""
    foreign = {node.op_type for node in model.graph.node if has_inner_graphs(node) or node.op_type in QUANTISED}
    if foreign:
        raise UnusableModel(f"a graph with {', '.join(sorted(foreign))} in it is not converted to fp16")
    del model.graph.value_info[:]
    try:
        graph = shape_inference.infer_shapes(model).graph
    except (shape_inference.InferenceError, ValueError) as cause:
        raise UnusableModel(f"the types in its graph cannot be told: {first_line(cause)}") from cause
    types = {one.name: one.type.tensor_type.elem_type for one in (*graph.value_info, *graph.input, *graph.output)}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        unknown = [name for name in node.output if name and not types.get(name)]
        if unknown:
            raise UnusableModel(f"{node.op_type} '{node.name}': the type of its output '{unknown[0]}' is not known")
    return {name for name, kind in types.items() if kind == FLOAT}


def _made(model: onnx.ModelProto, floats: set[str], kept: dict[str, str]) -> str:
    """How many nodes of which kinds stay fp32, and why."""
    computing = [node for node in model.graph.node if floats.intersection((*node.input, *node.output))]
    by_reason: dict[str, Counter[str]] = {}
    for node in computing:
        if node.name in kept:
            by_reason.setdefault(kept[node.name], Counter())[node.op_type] += 1
    told = "; ".join(
        f"{reason} ({', '.join(f'{count} {op}' for op, count in sorted(ops.items()))})"
        for reason, ops in by_reason.items()
    )
    num_kept = sum(ops.total() for ops in by_reason.values())
    return f"fp16; of {len(computing)} nodes that compute {num_kept} stay fp32: {told or 'none'}"


@dataclass
class _Rewriter:
    """The new graph's nodes, in order, and for every value the names of its forms."""

    model: onnx.ModelProto
    floats: set[str]
    kept: dict[str, str]
    nodes: list[NodeProto] = field(default_factory=list)
    forms: dict[str, dict[int, str]] = field(default_factory=dict)
    """Float value -> type -> name."""
    written: dict[str, TensorProto] = field(default_factory=dict)
    """Constants of the new file."""

    def __post_init__(self) -> None:
        graph = self.model.graph
        self._constants: dict[str, Array] = constants(graph)
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._outputs = {value.name for value in graph.output}
        self._taken = self._constants.keys() | {name for node in graph.node for name in (*node.input, *node.output)}
        self._opsets = {_domain(entry.domain): entry.version for entry in self.model.opset_import}
        for value in (*graph.input, *graph.initializer):
            self.forms[value.name] = {FLOAT: value.name}

    def add(self, node: NodeProto) -> None:
        """Take over one node, its floats in the form that it is to have."""
        takes, gives = self._types(node)
        new = NodeProto()
        new.CopyFrom(node)
        for i, name in enumerate(node.input):
            new.input[i] = self._form(name, takes[i]) if name in self.floats else self._plain(name)
        self.nodes.append(new)
        for i, name in enumerate(node.output):
            if name in self.floats:
                self._give(new, i, gives[i])

    def finished(self) -> onnx.ModelProto:
        """The model with the new graph."""
        if not any(HALF in forms for forms in self.forms.values()):
            raise UnusableModel("nothing in it is for fp16: no convolution, product or table")
        graph = self.model.graph
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(self.written.values())
        onnx.checker.check_model(self.model)
        return self.model

    def _types(self, node: NodeProto) -> tuple[list[int], list[int]]:
        """For every input and output the type that floats have there: fp16 where the operator takes it."""
        if node.name in self.kept:
            return [FLOAT] * len(node.input), [FLOAT] * len(node.output)
        domain = _domain(node.domain)
        schema = onnx.defs.get_schema(node.op_type, self._opsets.get(domain, 1), domain)
        return [_type(schema.inputs, i) for i in range(len(node.input))], [
            _type(schema.outputs, i) for i in range(len(node.output))
        ]

    def _give(self, node: NodeProto, i: int, kind: int) -> None:
        """Note the form of an output; what the graph gives out keeps its name and is fp32."""
        name = node.output[i]
        if kind == HALF and name in self._outputs:
            node.output[i] = self._new(f"{name}.fp16")
        self.forms[name] = {kind: node.output[i]}
        if name in self._outputs and kind == HALF:
            self._cast(node.output[i], name, FLOAT)
            self.forms[name][FLOAT] = name

    def _form(self, name: str, kind: int) -> str:
        """The name of a float value in this form; made if it is not there yet."""
        forms = self.forms[name]
        if name in self._constants:
            return self._constant(name, kind)
        if kind not in forms:
            forms[kind] = self._new(f"{name}.fp16" if kind == HALF else f"{name}.fp32")
            self._cast(next(iter(forms.values())), forms[kind], kind)
        return forms[kind]

    def _constant(self, name: str, kind: int) -> str:
        forms = self.forms[name]
        if kind == HALF and HALF not in forms:
            forms[HALF] = self._new(f"{name}.fp16")
            self.written[forms[HALF]] = numpy_helper.from_array(self._constants[name].astype(np.float16), forms[HALF])
        return self._plain(name) if kind == FLOAT else forms[HALF]

    def _plain(self, name: str) -> str:
        """What is no float, or stays one: as it was."""
        if name in self._tensors:
            self.written[name] = self._tensors[name]
        return name

    def _cast(self, name: str, to: str, kind: int) -> None:
        self.nodes.append(helper.make_node("Cast", [name], [to], f"{to}.cast", to=kind))

    def _new(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken = self._taken | {name}
        return name


def _domain(name: str) -> str:
    """The standard operators' domain has two names."""
    return "" if name == "ai.onnx" else name


def _type(parameters: Any, i: int) -> int:
    """By the schema's list of formal parameters, the last of which may stand for any number more."""
    return HALF if HALF_NAME in parameters[min(i, len(parameters) - 1)].types else FLOAT
