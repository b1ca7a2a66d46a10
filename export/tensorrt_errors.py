"""What TensorRT says when it fails, turned into one error: which node, which layer of ours, why, and what to do.

TensorRT fails by returning False, -1 or None; the reason is in its log alone, between remarks to its developers. Knows
its messages and the nodes of a file. Knows nothing of how an engine is built.
"""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from bundle.errors import RuntimeFailed
from export.onnx_nodes import Node, read_nodes
from runtime.trt_api import Messages, messages_of

MOST_SHOWN = 3
NOISE = re.compile(
    r"catchCudaError|ScopedCudaStream|--- (Begin|End) node ---|While parsing node|Thread context has not been|"
    r"^Invalid Node - |In function \w+:$"
)
"""What follows from other messages, or says nothing."""
SOURCES = (
    (r"^(\[?[\w./:]+\.(cpp|h|hpp)[:\w]*(:\d+)?\]?:? ?)+", ""),
    (r"^\[\d+\] ", ""),
    (r"^(\w+::)?\w+: Error Code \d+: (API Usage Error )?", ""),
    (r"^Error Code \d+: Internal Error ", ""),
    (r" In \w+ at /_src/\S+", ""),
    (r"^Assertion failed: .*?: ", ""),
    (r"^.*&& \"(.*)\"\.?$", r"\1"),
    (r"^\((.*)\)$", r"\1"),
    (r"^\((.*)$", r"\1"),
)
"""What tells of TensorRT's own sources in a message, and what stays."""

ADVICE: tuple[tuple[str, str], ...] = (
    (
        r"type UInt8 but must|UINT8 .*binding",
        "TensorRT takes UINT8 only as the input of a cast: cast first, then turn axes (`image.float().permute(...)`)",
    ),
    (
        r"[Nn]on-zero zero point|asymmetric",
        "TensorRT's int8 is symmetric: zero points must be 0, as in an `int8-trt` artefact; `int8` is made for CPUs",
    ),
    (
        r"DequantizeLinear.*Int32|type Int32 but must have type FP8",
        "an int32 bias was quantised: leave biases in float (QuantizeBias=False), as in an `int8-trt` artefact",
    ),
    (
        r"MatMulInteger|ConvInteger|DynamicQuantize(Linear|LSTM|MatMul)",
        "scales found while it runs are for CPUs: build from `fp32`, `fp16` or `int8-trt`, not from `int8`",
    ),
    (
        r"NonMaxSuppression|add_nms|suppress",
        "suppress boxes by tensor operations of fixed size, as training/nms.py does",
    ),
    (
        r"NonZero",
        "shapes must not depend on values: use masks and `torch.where` in place of `nonzero` and of boolean indices",
    ),
    (r"[Aa]ntialias", "resize without antialias in the graph; preprocessing has resized the picture by area before"),
    (
        r"Attention",
        "export at opset 20, which writes attention as MatMul and Softmax; the Attention op of opset 23 has no kernel",
    ),
    (
        r"Plugin not found|checkFallbackPluginImporter|plugin creator",
        "the operator is not one of TensorRT's: express it in operators of plain ONNX",
    ),
    (
        r"must have same input types|same type|types .* and Half",
        "networks are strongly typed: put a cast where float16 and float32 meet (a converted artefact lacks one there)",
    ),
    (r"HardwareCompatibility", "leave --hardware-compatibility out: this TensorRT builds for one GPU only"),
    (r"workspace", "give it more memory: --workspace-mib N, or leave the option out to allow all of the GPU's"),
    (
        r"[Oo]ut ?[Oo]f ?[Mm]emory|cudaErrorMemoryAllocation|CUDA error 2\b|MEM_ALLOC",
        "the GPU's memory is full: stop what else runs on it (nvidia-smi), or set a smaller --workspace-mib",
    ),
    (
        r"cudaError 35|driver version is insufficient|no CUDA-capable device",
        "check the driver (nvidia-smi): CUDA 13 needs r580 or later, and the container must be given the GPU",
    ),
    (
        r"Failed to parse the ONNX model|at least one output",
        "the file is not an ONNX model, or only a part of one: export it again",
    ),
    (r"external|weights? .*(file|open)", "weights beside the file are missing: `modelyard import onnx` takes them in"),
)
"""Pattern of operator and message -> what to do. The first that is found holds."""
OTHERWISE = "serve the artefact in ONNX Runtime, or change the graph at that node and export again"


class Listener:
    """Keeps what one TensorRT module says at warning level and above, from whatever thread."""

    def __init__(self, messages: Messages) -> None:
        self.logger = messages.logger
        """What TensorRT takes."""
        self._errors: list[str] = []
        self._warnings: list[str] = []
        messages.also.append(self._hear)

    def _hear(self, kind: str, said: str) -> None:
        (self._errors if kind == "error" else self._warnings).append(said)

    def messages(self) -> list[str]:
        """Errors; warnings where no error says anything."""
        telling = [error for error in self._errors if not NOISE.search(error)]
        return telling or self._warnings or self._errors

    def forget(self) -> None:
        """Begin anew."""
        self._errors.clear()
        self._warnings.clear()


@cache
def listener(trt: Any) -> Listener:
    """The builder's ear at the one log that a process has: engines are run by the same module, and tell reasons too."""
    return Listener(messages_of(trt))


def parse_error(path: Path, builder: str, errors: Sequence[Any], messages: Sequence[str]) -> RuntimeFailed:
    """Why a file was not read; `errors` are the parser's, which know their nodes."""
    if not errors:
        return build_error(path, builder, "cannot read the graph", messages)
    nodes = {node.name: node for node in read_nodes(path)}
    told = [_told(nodes, error) for error in errors[:MOST_SHOWN]]
    more = f"; and {len(errors) - MOST_SHOWN} more" if len(errors) > MOST_SHOWN else ""
    advice = advise(" ".join(f"{error.node_operator()} {error.desc()}" for error in errors[:1]))
    return RuntimeFailed(f"{path}: {builder} cannot read {'; '.join(told)}{more}. What to do: {advice}")


def _told(nodes: dict[str, Node], error: Any) -> str:
    reason = readable([error.desc()])
    if not error.node_operator():
        return f"the graph: {reason}"
    name = error.node_name()
    found = nodes.get(name, Node(name, "", ""))
    within = "".join(f", in function {one}" for one in error.local_function_stack())
    return f"{_described(Node(name, error.node_operator(), found.layer))}{within}: {reason}"


def _described(node: Node) -> str:
    return f"node '{node.name}' ({node.op_type})" + (f" of layer {node.layer}" if node.layer else "")


def build_error(path: Path, builder: str, what: str, messages: Sequence[str]) -> RuntimeFailed:
    """Why a graph that was read became no engine: `what` failed; messages may name nodes or operators."""
    reason = readable(messages)
    nodes = read_nodes(path)
    named = _named(nodes, reason)
    where = " at " + ", ".join(map(_described, named)) if named else ""
    advice = advise(f"{' '.join(node.op_type for node in named)} {reason}")
    return RuntimeFailed(f"{path}: {builder} {what}{where}: {reason}. What to do: {advice}")


def _named(nodes: list[Node], reason: str) -> list[Node]:
    """Nodes whose names stand in a message (TensorRT puts `_0` behind them), else those of an operator named in it."""
    words = set(re.findall(r"[\w./:]+", reason))
    words |= {re.sub(r"_\d+$", "", word) for word in words}
    by_name = [node for node in nodes if node.name and node.name in words]
    operators = {word for word in words if word[:1].isupper()}
    return (by_name or [node for node in nodes if node.op_type in operators])[:MOST_SHOWN]


def readable(messages: Sequence[str]) -> str:
    """The lines that say something, each once, without places in TensorRT's sources."""
    lines = [line.strip() for message in messages for line in message.splitlines()]
    telling = [line for line in lines if line and not NOISE.search(line)] or lines
    chosen = list(dict.fromkeys(filter(None, map(_plain, telling))))[:MOST_SHOWN]
    return "; ".join(chosen) or "it does not say why"


def _plain(line: str) -> str:
    for pattern, stays in SOURCES:
        line = re.sub(pattern, stays, line)
    return "it is not supported" if line == "false" else line.strip(" .")


def advise(text: str) -> str:
    """What to do about a message."""
    return next((advice for pattern, advice in ADVICE if re.search(pattern, text)), OTHERWISE)
