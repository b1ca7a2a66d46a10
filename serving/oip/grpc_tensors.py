"""gRPC messages <-> requests and tensors: typed contents or raw bytes in, always raw bytes out.

Clients read numbers only from raw bytes, whatever they sent. Knows the messages. Knows nothing of gRPC's calls or of
models.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bundle.errors import BadInput
from bundle.manifest import Manifest
from bundle.tensors import Array
from serving.oip.datatypes import Datatype, count_bytes, count_elements, datatype_of, elements_array
from serving.oip.messages import MESSAGES
from serving.oip.parameters import check_unique, read_output_wish, read_wishes, refuse_shared_memory
from serving.oip.request import InferRequest, SentTensor
from serving.oip.response import OutputTensor

Message = Any
"""A protobuf message; its fields are known only while the program runs."""

CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Datatype -> the field of typed contents that holds its values; halves of a float have none."""

ALL_CONTENTS = tuple(dict.fromkeys(CONTENTS.values()))
LARGE = 50_000
"""Values of typed contents: a few milliseconds."""

ABOUT_STREAMS = "triton_enable_empty_final_response"
"""perf_analyzer sends it with every call, also where nothing streams and there is nothing that it could ask for."""

NARROW = {"INT8", "INT16", "UINT8", "UINT16"}
"""These travel as numbers of 32 bits, so a value may be more than they hold."""

_InferResponse = MESSAGES["ModelInferResponse"]


def read_request(message: Message) -> InferRequest:
    """A ModelInferRequest.

    Raises:
        BadInput: not what the protocol says. Unsupported: it needs what is not done here.
    """
    if not message.inputs:
        raise BadInput("the request holds no inputs; send at least one")
    check_unique("input", [one.name for one in message.inputs])
    check_unique("output", [one.name for one in message.outputs])
    parameters = plain(message.parameters)
    parameters.pop(ABOUT_STREAMS, None)
    wishes = read_wishes(parameters)
    outputs = [read_output_wish(one.name, plain(one.parameters)) for one in message.outputs]
    return InferRequest(_inputs(message), outputs or None, message.id, wishes)


def plain(parameters: Mapping[str, Message]) -> dict[str, Any]:
    """Parameters of a message as a plain dictionary; None where a parameter has no value."""
    found = {name: one.WhichOneof("parameter_choice") for name, one in parameters.items()}
    return {name: getattr(parameters[name], choice) if choice else None for name, choice in found.items()}


def _inputs(message: Message) -> list[SentTensor]:
    raws = message.raw_input_contents
    if not raws:
        return [_input(one, None) for one in message.inputs]
    typed = [one.name for one in message.inputs if one.HasField("contents")]
    if typed:
        raise BadInput(
            f"input '{typed[0]:.100}' has contents, and the request has raw_input_contents: its data are all in "
            "one or the other"
        )
    if len(raws) != len(message.inputs):
        raise BadInput(f"raw_input_contents holds {len(raws)} items for {len(message.inputs)} inputs; send one each")
    return [_input(one, raw) for one, raw in zip(message.inputs, raws, strict=True)]


def _input(one: Message, raw: bytes | None) -> SentTensor:
    try:
        refuse_shared_memory("it", plain(one.parameters) if one.parameters else None)
        datatype, shape = datatype_of(one.datatype), tuple(one.shape)
        if raw is None:
            return SentTensor(one.name, datatype, shape, values=_typed(datatype, shape, one.contents))
        expected = count_bytes(datatype, shape)
        if expected is not None and expected != len(raw):
            raise BadInput(f"{len(raw)} raw bytes; shape {list(shape)} of {one.datatype} takes {expected}")
        return SentTensor(one.name, datatype, shape, raw=raw)
    except BadInput as cause:
        raise type(cause)(f"input '{one.name:.100}': {cause}") from None


def _typed(datatype: Datatype, shape: tuple[int, ...], contents: Message) -> Array:
    field = CONTENTS.get(datatype.name)
    if field is None:
        raise BadInput(f"{datatype.name} has no typed contents; send it in raw_input_contents")
    values, count = getattr(contents, field), count_elements(shape)
    if len(values) != count:
        others = [one for one in ALL_CONTENTS if one != field and getattr(contents, one)]
        hint = f" (there are values in {', '.join(others)})" if others else ""
        raise BadInput(f"{len(values)} values in {field}{hint}; shape {list(shape)} holds {count}")
    if datatype.wire is None:
        return elements_array(list(values), shape)
    if datatype.name in NARROW:
        return _narrow(np.fromiter(values, np.int64, count), datatype.name, datatype.wire).reshape(shape)
    return np.fromiter(values, datatype.wire, count).reshape(shape)


def _narrow(values: Array, name: str, wire: np.dtype[Any]) -> Array:
    held = np.iinfo(wire)
    if values.size and (values.min() < held.min or values.max() > held.max):
        raise BadInput(f"a value is not from {held.min} to {held.max}, which is what {name} holds")
    return values.astype(wire)


def answer_message(manifest: Manifest, request_id: str, outputs: Iterable[OutputTensor]) -> Message:
    """A ModelInferResponse."""
    message = _InferResponse(model_name=manifest.name, model_version=str(manifest.version), id=request_id)
    for one in outputs:
        message.outputs.add(name=one.name, datatype=one.datatype, shape=one.array.shape)
        message.raw_output_contents.append(bytes(one.raw))
    return message


def is_large(message: Message) -> bool:
    """Whether reading a request's typed contents takes so long that other calls should not wait for it."""
    if message.raw_input_contents:
        return False
    return sum(_num_values(one.contents) for one in message.inputs if one.HasField("contents")) > LARGE


def _num_values(contents: Message) -> int:
    return sum(len(getattr(contents, field)) for field in ALL_CONTENTS)
