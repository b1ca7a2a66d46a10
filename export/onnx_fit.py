"""Somebody's graph -> one with the tensors that task and preprocessing need: names, types, named axes.

Repaired is what changes no number: names, and axes that are declared too narrowly (the proof then runs the repaired
graph at batches that the declaration did not allow). The rest is refused. Knows the ONNX format and tensor specs.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, ValueInfoProto, helper

from bundle.errors import UnusableModel
from bundle.tensors import TensorSpec

BATCH = "batch"


def fit(
    model: onnx.ModelProto,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    given_names: Mapping[str, str],
) -> onnx.ModelProto:
    """A copy whose inputs and outputs are exactly these, in this order; `given_names` are the file's own by ours.

    Raises:
        UnusableModel: lists what the file has and what is expected.
    """
    fitted = onnx.ModelProto()
    fitted.CopyFrom(model)
    graph = fitted.graph
    weights = {tensor.name for tensor in graph.initializer}  # old files list them among the inputs
    graph_inputs = [value for value in graph.input if value.name not in weights]
    unknown = sorted(set(given_names) - {spec.name for spec in (*inputs, *outputs)})
    if unknown:
        raise UnusableModel(
            f"the spec renames {', '.join(unknown)}; the tensors here are {_names((*inputs, *outputs))}"
        )
    new_inputs = _pick("input", graph_inputs, inputs, given_names)
    new_outputs = _pick("output", list(graph.output), outputs, given_names)
    left = [value.name for value in graph_inputs if value.name not in {one.name for one in new_inputs}]
    if left:
        raise UnusableModel(
            f"the file has inputs that nothing here feeds: {', '.join(left)}; {_both(graph_inputs, inputs)}"
        )
    for value, spec in zip((*new_inputs, *new_outputs), (*inputs, *outputs), strict=True):
        _fit_value(value, spec)
    del graph.input[:], graph.output[:], graph.value_info[:]  # what is inferred of inner values may be as narrow
    graph.input.extend(new_inputs)
    graph.output.extend(new_outputs)
    _rename(graph, {given: ours for ours, given in given_names.items() if given != ours})
    return fitted


def _pick(
    kind: str, values: list[ValueInfoProto], specs: tuple[TensorSpec, ...], given_names: Mapping[str, str]
) -> list[ValueInfoProto]:
    by_name = {value.name: value for value in values}
    missing = [spec.name for spec in specs if given_names.get(spec.name, spec.name) not in by_name]
    if missing:
        hint = f"; if '{values[0].name}' is it, add to the spec: {kind}s: {{{missing[0]}: {values[0].name}}}"
        raise UnusableModel(
            f"the file has no {kind} {', '.join(missing)}: {_both(values, specs)}{hint if len(values) == 1 else ''}"
        )
    return [by_name[given_names.get(spec.name, spec.name)] for spec in specs]


def _fit_value(value: ValueInfoProto, spec: TensorSpec) -> None:
    """Declare a value as the spec does, or say why it is another."""
    tensor = value.type.tensor_type
    axes = list(tensor.shape.dim) if tensor.HasField("shape") else None
    same_type = tensor.elem_type == helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    if not same_type or (axes is not None and len(axes) != len(spec.shape)):
        raise UnusableModel(f"another form: {_both([value], (spec,))}")
    for axis, want in zip(axes or (), spec.shape, strict=axes is not None):
        fixed = axis.dim_value if axis.HasField("dim_value") else None
        if fixed is not None and fixed != want and not (want == BATCH and fixed == 1):
            raise UnusableModel(f"axis of size {fixed} where {want!r} is expected: {_both([value], (spec,))}")
    value.CopyFrom(helper.make_tensor_value_info(value.name, tensor.elem_type, spec.shape))


def _rename(graph: onnx.GraphProto, ours: Mapping[str, str]) -> None:
    """Give values new names wherever they occur, inner graphs too; an inner value that has such a name makes room."""
    renamed = {name: f"{name}.inner" for name in ours.values()} | dict(ours)
    waiting = [graph]
    while waiting:
        scope = waiting.pop()
        for value in (*scope.input, *scope.output, *scope.initializer):
            value.name = renamed.get(value.name, value.name)
        for node in scope.node:
            node.input[:] = [renamed.get(name, name) for name in node.input]
            node.output[:] = [renamed.get(name, name) for name in node.output]
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs


def _both(values: Iterable[ValueInfoProto], specs: Iterable[TensorSpec]) -> str:
    return f"the file has {'; '.join(map(_brief, values)) or 'none'}, expected is {'; '.join(map(str, specs))}"


def _brief(value: ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    axes = [axis.dim_value if axis.HasField("dim_value") else axis.dim_param or "?" for axis in tensor.shape.dim]
    dtype = TensorProto.DataType.Name(tensor.elem_type).lower()
    return f"{value.name}: {dtype} {axes if tensor.HasField('shape') else 'of unknown shape'}"


def _names(specs: Iterable[TensorSpec]) -> str:
    return ", ".join(spec.name for spec in specs)
