"""Which layer of ours a node of an ONNX file came from, read without the `onnx` package.

An engine is built on the node that serves, where `onnx` is not installed; only names are wanted, so the few fields of
the file that hold them are read from its protobuf bytes. Weights are skipped over. Knows the file's form and what
torch.onnx writes beside a node. Knows nothing of why it is asked.
"""

import ast
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GRAPH_OF_MODEL, NODE_OF_GRAPH = 7, 1
NAME, OP_TYPE, METADATA = 3, 4, 9
KEY, VALUE = 1, 2
SCOPES, CLASSES = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy"
"""Lists written as Python literals, from the whole module down to the operation."""
OURS = "training."
FIXED_BYTES = {1: 8, 5: 4}


@dataclass(frozen=True)
class Node:
    """One operation of the graph."""

    name: str
    op_type: str
    layer: str
    """For people: the module that it is a part of; empty where the file does not say."""


def read_nodes(path: Path) -> list[Node]:
    """The nodes of a graph, in its order; none where the file cannot be read: they are for messages on other errors."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _nodes(content)
    except (OSError, ValueError, IndexError):
        return []


def _nodes(content: mmap.mmap) -> list[Node]:
    whole = slice(0, len(content))
    graphs = [part for number, part in _fields(content, whole) if number == GRAPH_OF_MODEL]
    return [
        _node(content, part) for graph in graphs for number, part in _fields(content, graph) if number == NODE_OF_GRAPH
    ]


def _node(content: mmap.mmap, where: slice) -> Node:
    fields = list(_fields(content, where))
    texts = {number: _text(content, part) for number, part in fields if number in (NAME, OP_TYPE)}
    entries = [dict(_fields(content, part)) for number, part in fields if number == METADATA]
    metadata = {_text(content, one[KEY]): _text(content, one[VALUE]) for one in entries if KEY in one and VALUE in one}
    return Node(texts.get(NAME, ""), texts.get(OP_TYPE, ""), _layer(metadata))


def _layer(metadata: dict[str, str]) -> str:
    """The innermost module, its class, and the innermost class of ours around it."""
    scopes, classes = _list(metadata.get(SCOPES, "[]"))[:-1], _list(metadata.get(CLASSES, "[]"))[:-1]
    if not classes or len(scopes) != len(classes):
        return ""
    what = classes[-1]
    ours = [one for one in classes if one.startswith(OURS)]
    inside = f", in {ours[-1]}" if ours and ours[-1] != what else ""
    return f"'{scopes[-1] or 'graph'}' ({what}{inside})"


def _list(literal: str) -> list[str]:
    try:
        return [str(item) for item in ast.literal_eval(literal)]
    except (ValueError, SyntaxError, TypeError):
        return []


def _fields(content: mmap.mmap, where: slice) -> Iterator[tuple[int, slice]]:
    """Field number and place of its bytes, of all fields that have a length."""
    at = where.start
    while at < where.stop:
        key, at = _varint(content, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            _, at = _varint(content, at)
        elif kind in FIXED_BYTES:
            at += FIXED_BYTES[kind]
        elif kind == 2:
            length, at = _varint(content, at)
            yield number, slice(at, at + length)
            at += length
        else:
            raise ValueError(f"not protobuf: a field of kind {kind} at byte {at}")


def _varint(content: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


def _text(content: mmap.mmap, where: slice) -> str:
    return content[where].decode(errors="replace")
