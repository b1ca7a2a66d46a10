"""Which nodes of an ONNX graph lead where, by the flow of data and not by the order of the list.

The branches of a head end one after the other, so "everything behind the last convolution of the list" would be wrong.
Knows the ONNX format. Knows nothing of precision.
"""

from collections.abc import Callable, Iterable
from typing import Any

from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from bundle.tensors import Array

Names = Callable[[NodeProto], Iterable[str]]
Chosen = Callable[[NodeProto], bool]


def numeric_ends(nodes: list[NodeProto], has_weights: Chosen) -> set[str]:
    """Names of the nodes that no op with weights leads to, or that lead to none: normalisation, numeric tail."""
    fed = _reached(nodes, has_weights, lambda node: node.input, lambda node: node.output)
    feeding = _reached(nodes[::-1], has_weights, lambda node: node.output, lambda node: node.input)
    return {node.name for node in nodes} - (fed & feeding)


def _reached(nodes: list[NodeProto], chosen: Chosen, ends: Names, goes_on: Names) -> set[str]:
    """Names of the chosen and of all that one of them leads to; `nodes` in the order of the walk."""
    touched: set[str] = set()
    reached: set[str] = set()
    for node in nodes:
        if chosen(node) or touched.intersection(ends(node)):
            touched.update(filter(None, goes_on(node)))  # an input that is left out has an empty name
            reached.add(node.name)
    return reached


def until(nodes: list[NodeProto], start: set[str], stops: Chosen, follows: Callable[[str], bool]) -> set[str]:
    """Names of the nodes that a node of `start` leads to by values that are followed, up to those where it stops."""
    touched: set[str] = set()
    reached: set[str] = set()
    for node in nodes:
        if node.name in start or touched.intersection(node.input):
            reached.add(node.name)
            if not stops(node):
                touched.update(name for name in node.output if follows(name))
    return reached


def constants(graph: GraphProto) -> dict[str, Array]:
    """What the file holds, by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def has_inner_graphs(node: NodeProto) -> bool:
    """Whether it is a loop, a branch or the like."""
    return any(attribute.HasField("g") or len(attribute.graphs) for attribute in node.attribute)


def name_nodes(graph: GraphProto) -> None:
    """A name of its own for every node, where the file has none or one twice."""
    taken: set[str] = set()
    for i, node in enumerate(graph.node):
        if not node.name or node.name in taken:
            node.name = f"node.{i}"
        taken.add(node.name)


def gather_constants(graph: GraphProto) -> None:
    """Constants that are written as nodes become tensors of the file, as the others are."""
    nodes = [node for node in graph.node if node.op_type == "Constant" and _written(node) is not None]
    for node in nodes:
        tensor = TensorProto()
        tensor.CopyFrom(_written(node))
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
        graph.node.remove(node)


def _written(node: NodeProto) -> Any:
    """The tensor of a constant, or None where it is none of numbers."""
    (attribute,) = node.attribute
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return value
    if attribute.name in ("value_float", "value_floats", "value_int", "value_ints"):
        kind = TensorProto.FLOAT if "float" in attribute.name else TensorProto.INT64
        shape = [len(value)] if attribute.name.endswith("s") else []
        return helper.make_tensor("", kind, shape, value if shape else [value])
    return None
