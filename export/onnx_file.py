"""Somebody's ONNX file, read with suspicion: what is wrong with it is said, and what is outside its folder stays there.

Knows the ONNX format. Knows nothing of tasks. Nothing is executed or unpickled.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import Any

import onnx
from google.protobuf.message import DecodeError, EncodeError
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_tensor, uses_external_data

from bundle.errors import UnusableModel

MAX_BYTES = 2**31 - 1  # protobuf's own limit for one message
NEWEST_OPSET = onnx.defs.onnx_opset_version()
OLDEST_OPSET = 7  # the oldest that ONNX Runtime promises to run
STANDARD_DOMAINS = ("", "ai.onnx")
KNOWN_DOMAINS = (*STANDARD_DOMAINS, "ai.onnx.ml", "com.microsoft")
"""Whose operators ONNX Runtime brings along; the last are its own, as its quantiser writes them."""

Scope = Any
"""A GraphProto or a FunctionProto: both have nodes."""


def read_onnx(path: Path) -> onnx.ModelProto:
    """Read and check a file, its weights inside.

    Raises:
        UnusableModel: not an ONNX file, damaged, too new or too old, with operators nobody here knows, or with weights
            that lie outside its folder.
    """
    _check_bytes(path)
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except (DecodeError, ValueError) as cause:
        raise UnusableModel(f"{path}: not an ONNX file, or damaged: {cause}") from None
    _check_versions(path, model)
    _check_domains(path, model)
    _take_in_weights(path, model)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, EncodeError) as cause:
        raise UnusableModel(f"{path}: not a valid ONNX graph: {first_line(cause)}") from None
    return model


def _check_bytes(path: Path) -> None:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as cause:
        raise UnusableModel(f"{path}: cannot be read: {cause.strerror}") from None
    if not size:
        raise UnusableModel(f"{path}: the file is empty")
    if size > MAX_BYTES:
        raise UnusableModel(f"{path}: {size / 1e9:.1f} GB; one ONNX file with its weights holds at most 2 GB")
    foreign = _foreign(path, head)
    if foreign:
        raise UnusableModel(f"{path}: this is {foreign}, not an ONNX file")


def _foreign(path: Path, head: bytes) -> str | None:
    """What else a file is, by its first bytes."""
    if head[:4] == b"PK\x03\x04":
        names = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []
        pickled = any(name.endswith(".pkl") for name in names)
        return "a PyTorch file (it holds pickled Python, which is never opened)" if pickled else "a zip archive"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "pickled Python (which is never opened)"
    if head[:8] == b"\x89HDF\r\n\x1a\n":
        return "an HDF5 file, as Keras writes them"
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite file"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer (git lfs pull fetches the file that it stands for)"
    return "a safetensors file" if head[8:9] == b"{" and head[5:8] == b"\0\0\0" else None


def _check_versions(path: Path, model: onnx.ModelProto) -> None:
    if not model.graph.node:
        raise UnusableModel(f"{path}: no ONNX graph in it: not an ONNX file, or one without nodes")
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    opset = next((opsets[domain] for domain in STANDARD_DOMAINS if domain in opsets), None)
    if opset is None:
        raise UnusableModel(f"{path}: opset_import names no version of the standard operators, so they mean nothing")
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise UnusableModel(f"{path}: opset {opset}; opsets {OLDEST_OPSET} to {NEWEST_OPSET} are read")
    if not 3 <= model.ir_version <= onnx.IR_VERSION:
        raise UnusableModel(f"{path}: IR version {model.ir_version}; versions 3 to {onnx.IR_VERSION} are read")


def _check_domains(path: Path, model: onnx.ModelProto) -> None:
    own = {(function.domain, function.name) for function in model.functions}
    used = {(node.domain, node.op_type) for scope in _scopes(model) for node in scope.node} - own
    custom = sorted(f"{domain}.{op_type}" for domain, op_type in used if domain not in KNOWN_DOMAINS)
    if custom:
        raise UnusableModel(
            f"{path}: custom operators {', '.join(custom)}: they need a library that a bundle does not carry; known "
            f"domains are {', '.join(filter(None, KNOWN_DOMAINS))}"
        )


def _take_in_weights(path: Path, model: onnx.ModelProto) -> None:
    """Put weights that lie in files beside into the model; each of them must lie inside the folder."""
    outside = [tensor for scope in _scopes(model) for tensor in _tensors(scope) if uses_external_data(tensor)]
    files = [_beside(path, tensor) for tensor in outside]
    total = model.ByteSize() + sum(length for _, length in files)
    if total > MAX_BYTES:
        raise UnusableModel(f"{path}: {total / 1e9:.1f} GB with its weights; one ONNX file holds at most 2 GB")
    for tensor in outside:
        load_external_data_for_tensor(tensor, str(path.parent))
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _beside(path: Path, tensor: onnx.TensorProto) -> tuple[Path, int]:
    """The file that holds a tensor's numbers, and how many bytes of it."""
    info = ExternalDataInfo(tensor)
    where = f"{path}: the weights of '{tensor.name}' lie in '{info.location}'"
    windows = PureWindowsPath(info.location)  # sees a drive, and takes either slash
    if not info.location or windows.anchor or ".." in windows.parts:
        raise UnusableModel(f"{where}: a plain path inside the model's own folder is expected")
    file = path.parent / info.location
    if not file.resolve().is_relative_to(path.parent.resolve()):
        raise UnusableModel(f"{where}, a link that leads out of the model's own folder")
    if not file.is_file():
        raise UnusableModel(f"{where}, and there is no such file; it belongs to the model: put it beside")
    size, offset = file.stat().st_size, info.offset or 0
    length = info.length if info.length is not None else size - offset
    if offset < 0 or length < 0 or offset + length > size:
        raise UnusableModel(
            f"{where}, bytes {offset} to {offset + length}, but it has {size}: cut off, or another file"
        )
    return file, length


def _scopes(model: onnx.ModelProto) -> Iterator[Scope]:
    """The graph, the file's own functions, and every graph inside a node of these."""
    waiting: list[Scope] = [model.graph, *model.functions]
    while waiting:
        scope = waiting.pop()
        yield scope
        for attribute in (attribute for node in scope.node for attribute in node.attribute):
            waiting += [attribute.g] if attribute.HasField("g") else []
            waiting += attribute.graphs


def _tensors(scope: Scope) -> Iterator[onnx.TensorProto]:
    """Every tensor of one scope that may keep its numbers elsewhere."""
    if isinstance(scope, onnx.GraphProto):
        yield from scope.initializer
        for sparse in scope.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for attribute in (attribute for node in scope.node for attribute in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors


def first_line(cause: Exception) -> str:
    """What an error of onnx or onnxruntime says before it goes into detail."""
    return next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
