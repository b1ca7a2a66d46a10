"""Golden samples as requests of the Open Inference Protocol: JSON, binary tensors, and gRPC.

Sent are the input rows that training recorded, so nothing is decoded on the way, and the outputs that come back are held
to the checkpoint's by the task's own `differences`. Knows the protocol and bundles. Knows nothing of servers.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from bundle.errors import BadInput
from bundle.golden import Golden
from bundle.manifest import Manifest
from bundle.tensors import Array, Tensors, TensorSpec
from loadtests.traffic.bodies import Proven
from loadtests.traffic.case import Answer, Case, Check
from loadtests.traffic.families import JSON
from serving.oip.datatypes import array_from_bytes, datatype_of, name_of
from serving.oip.infer import TEMPLATE
from serving.oip.messages import INFERENCE, MESSAGES
from serving.oip.request import HEADER

METHOD = f"/{INFERENCE}/ModelInfer"
GRPC_ROUTE = "grpc:ModelInfer"
MAX_JSON_VALUES = 50_000
"""Larger samples are not asked for as JSON: nobody does, and the generator would be busy reading numbers."""


def oip_cases(family: str, model: Proven) -> list[Case]:
    """Each golden sample as JSON, unless it is large, and with binary tensors."""
    cases = []
    for sample in model.samples():
        check = outputs_check(model, sample)
        if sum(array.size for array in (*sample.inputs.values(), *sample.outputs.values())) <= MAX_JSON_VALUES:
            cases.append(_rest(family, JSON, model, json_body(model.bundle.manifest, sample.inputs), check))
        cases.append(_rest(family, "binary", model, binary_body(model.bundle.manifest, sample.inputs), check))
    return cases


def _rest(family: str, form: str, model: Proven, parts: tuple[bytes, bytes], check: Check) -> Case:
    head, binary = parts
    binary_headers = (("Content-Type", "application/octet-stream"), (HEADER, str(len(head))))
    headers = binary_headers if binary else (("Content-Type", "application/json"),)
    return Case(family, form, TEMPLATE, TEMPLATE.format(name=model.name), head + binary, headers, check)


def json_body(manifest: Manifest, rows: Tensors) -> tuple[bytes, bytes]:
    """One row, its numbers as text."""
    inputs = [_described(spec, rows) | {"data": rows[spec.name].ravel().tolist()} for spec in manifest.inputs]
    return msgspec.json.encode({"inputs": inputs}), b""


def binary_body(manifest: Manifest, rows: Tensors) -> tuple[bytes, bytes]:
    """One row, its numbers behind the JSON; outputs are to come back the same way."""
    raws = [_raw(spec, rows) for spec in manifest.inputs]
    inputs = [
        _described(spec, rows) | {"parameters": {"binary_data_size": len(raw)}}
        for spec, raw in zip(manifest.inputs, raws, strict=True)
    ]
    return msgspec.json.encode({"inputs": inputs, "parameters": {"binary_data_output": True}}), b"".join(raws)


def grpc_cases(family: str, model: Proven, timeout_ms: float | None) -> list[Case]:
    """Each golden sample as a message with raw contents.

    The deadline goes as the protocol's own parameter, in microseconds: a deadline of gRPC's would be enforced by the
    client, and what the server made of it could not be told.
    """
    cases = []
    for sample in model.samples():
        message = MESSAGES["ModelInferRequest"](model_name=model.name)
        for spec in model.bundle.manifest.inputs:
            message.inputs.add(**_described(spec, sample.inputs))
            message.raw_input_contents.append(_raw(spec, sample.inputs))
        if timeout_ms is not None:
            message.parameters["timeout"].int64_param = round(timeout_ms * 1e3)
        check = outputs_check(model, sample, read_message)
        cases.append(Case(family, "raw", GRPC_ROUTE, METHOD, message.SerializeToString(), (), check, "GRPC"))
    return cases


def _described(spec: TensorSpec, rows: Tensors) -> dict[str, Any]:
    return {"name": spec.name, "datatype": name_of(spec.dtype), "shape": [1, *rows[spec.name].shape]}


def _raw(spec: TensorSpec, rows: Tensors) -> bytes:
    wire = datatype_of(name_of(spec.dtype)).wire
    return np.asarray(rows[spec.name], wire, order="C").tobytes()


def outputs_check(model: Proven, sample: Golden, read: "Reader | None" = None) -> Check:
    """Whether the outputs are the checkpoint's for this sample."""
    task, name, atol = model.task, model.name, model.atol

    def problem(answer: Answer) -> str | None:
        try:
            got_name, outputs = (read or read_rest)(answer)
        except (BadInput, KeyError, ValueError, msgspec.MsgspecError) as cause:
            return f"not an answer of the protocol: {type(cause).__name__}: {cause}: {answer.body[:200]!r}"
        shapes = {key: (1, *array.shape) for key, array in sample.outputs.items()}
        given = {key: array.shape for key, array in outputs.items()}
        if got_name != name or given != shapes:
            return f"outputs {given} of '{got_name}', expected {shapes} of '{name}'"
        row = {key: array[0] for key, array in outputs.items()}
        for output, apart in task.differences(sample.outputs, row).items():
            if not apart <= atol:
                return f"{name}: output '{output}' is {apart:.3g} from the checkpoint's, the limit is {atol:g}"
        return None

    return problem


Reader = Any
"""An answer -> (model, outputs by name, each with its batch)."""


def read_rest(answer: Answer) -> tuple[str, Tensors]:
    """An answer over REST, its outputs in JSON or behind it."""
    size = int(answer.headers.get(HEADER.lower(), len(answer.body)))
    told: dict[str, Any] = msgspec.json.decode(answer.body[:size])
    return told["model_name"], _tensors(told["outputs"], memoryview(answer.body)[size:])


def _tensors(described: list[dict[str, Any]], binary: memoryview) -> Tensors:
    outputs: Tensors = {}
    for one in described:
        length = one.get("parameters", {}).get("binary_data_size")
        if length is None:
            outputs[one["name"]] = _from_json(one)
        else:
            outputs[one["name"]] = array_from_bytes(datatype_of(one["datatype"]), one["shape"], binary[:length])
            binary = binary[length:]
    return outputs


def _from_json(one: Mapping[str, Any]) -> Array:
    return np.array(one["data"], datatype_of(one["datatype"]).wire).reshape(one["shape"])


def read_message(answer: Answer) -> tuple[str, Tensors]:
    """An answer over gRPC, where outputs are always raw."""
    message = MESSAGES["ModelInferResponse"].FromString(answer.body)
    pairs = zip(message.outputs, message.raw_output_contents, strict=True)
    outputs = {one.name: array_from_bytes(datatype_of(one.datatype), tuple(one.shape), raw) for one, raw in pairs}
    return message.model_name, outputs
