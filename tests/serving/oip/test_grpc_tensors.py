"""Messages to requests and back: every datatype, typed or raw, and what is refused."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pool

from bundle.errors import BadInput, Unsupported
from bundle.store import open_bundle
from bundle.tensors import Array
from serving.oip.datatypes import bytes_from_array
from serving.oip.grpc_tensors import LARGE, answer_message, is_large, read_request
from serving.oip.messages import MESSAGES
from serving.oip.parameters import OutputWish
from serving.oip.response import OutputTensor

TYPED = {
    "BOOL": ("bool_contents", [True, False]),
    "INT8": ("int_contents", [-128, 127]),
    "INT16": ("int_contents", [-(2**15), 2**15 - 1]),
    "INT32": ("int_contents", [-(2**31), 2**31 - 1]),
    "INT64": ("int64_contents", [-(2**63), 2**63 - 1]),
    "UINT8": ("uint_contents", [0, 255]),
    "UINT16": ("uint_contents", [0, 2**16 - 1]),
    "UINT32": ("uint_contents", [0, 2**32 - 1]),
    "UINT64": ("uint64_contents", [0, 2**64 - 1]),
    "FP32": ("fp32_contents", [0.5, float("-inf")]),
    "FP64": ("fp64_contents", [0.1, -1e300]),
    "BYTES": ("bytes_contents", [b"", b"\0\xff"]),
}


def request(*inputs: tuple[str, str, Sequence[int]], raw: Sequence[bytes] = (), **fields: Any) -> Any:
    message = MESSAGES["ModelInferRequest"](model_name="fake", **fields)
    for name, datatype, shape in inputs:
        message.inputs.add(name=name, datatype=datatype, shape=shape)
    message.raw_input_contents.extend(raw)
    return message


def typed(datatype: str, shape: Sequence[int], **contents: Any) -> Any:
    message = request(("x", datatype, shape))
    for field, values in contents.items():
        getattr(message.inputs[0].contents, field).extend(values)
    return message


@pytest.mark.parametrize("datatype", TYPED)
def test_typed_contents_are_the_values(datatype: str) -> None:
    field, values = TYPED[datatype]
    (tensor,) = read_request(typed(datatype, [2, 1], **{field: values})).inputs
    assert tensor.datatype.name == datatype
    assert tensor.read().shape == (2, 1)
    assert tensor.read().ravel().tolist() == values
    if tensor.datatype.wire is not None:
        assert tensor.read().dtype == tensor.datatype.wire


@pytest.mark.parametrize("datatype", TYPED)
def test_raw_contents_are_the_same_values(datatype: str) -> None:
    _, values = TYPED[datatype]
    array: Array = np.empty(2, np.object_)
    array[:] = values
    sent = (
        array if datatype == "BYTES" else np.array(values, read_request(typed(datatype, [0])).inputs[0].datatype.wire)
    )
    (tensor,) = read_request(request(("x", datatype, [2]), raw=[bytes(bytes_from_array(sent, datatype))])).inputs
    assert tensor.read().tolist() == values


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_halves_come_raw_only(datatype: str) -> None:
    raw = bytes(bytes_from_array(np.array([0.5, -2.0], np.float32), datatype))
    (tensor,) = read_request(request(("x", datatype, [2]), raw=[raw])).inputs
    assert tensor.read().tolist() == [0.5, -2.0]
    with pytest.raises(BadInput, match=f"input 'x': {datatype} has no typed contents; send it in raw_input_contents"):
        read_request(typed(datatype, [2], fp32_contents=[0.5, -2.0]))


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (request(), "holds no inputs"),
        (request(("x", "FP32", [1]), ("x", "FP32", [1])), "input 'x' is there more than once"),
        (request(("x", "FP32", [1]), raw=[b"1234", b"1234"]), "holds 2 items for 1 inputs"),
        (request(("x", "FP32", [2]), raw=[b"1234"]), "input 'x': 4 raw bytes; shape \\[2\\] of FP32 takes 8"),
        (request(("x", "FP99", [1]), raw=[b"1234"]), "input 'x': 'FP99' is no datatype"),
        (request(("x", "FP32", [-1]), raw=[b"1234"]), "input 'x': shape \\[-1\\] holds a negative size"),
        (request(("x", "FP32", [2**40, 2**40]), raw=[b"1234"]), "input 'x': shape"),
        (typed("FP32", [2], fp32_contents=[1.0]), "1 values in fp32_contents; shape \\[2\\] holds 2"),
        (
            typed("FP32", [1], fp64_contents=[1.0]),
            "0 values in fp32_contents \\(there are values in fp64_contents\\); shape \\[1\\] holds 1",
        ),
        (typed("INT8", [2], int_contents=[1, 128]), "a value is not from -128 to 127, which is what INT8 holds"),
        (typed("UINT16", [1], uint_contents=[2**16]), "a value is not from 0 to 65535"),
    ],
)
def test_what_is_refused(message: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        read_request(message)


def test_typed_and_raw_contents_in_one_request_are_refused() -> None:
    message = request(("a", "FP32", [1]), ("b", "FP32", [1]), raw=[b"1234"])
    message.inputs[1].contents.fp32_contents.append(1.0)
    with pytest.raises(BadInput, match="input 'b' has contents, and the request has raw_input_contents"):
        read_request(message)


def test_an_empty_tensor_needs_no_values() -> None:
    assert read_request(request(("x", "FP32", [0, 3]))).inputs[0].read().shape == (0, 3)


def test_parameters_are_wishes() -> None:
    message = request(("x", "BYTES", [1]), raw=[b"\0\0\0\0"], id="seven")
    message.parameters["priority"].uint64_param = 1
    message.parameters["timeout"].int64_param = 250_000
    message.parameters["note"].double_param = 0.5
    message.parameters["empty"].SetInParent()
    output = message.outputs.add(name="scores")
    output.parameters["classification"].int64_param = 3
    read = read_request(message)
    assert (read.id, read.wishes.priority, read.wishes.timeout_us) == ("seven", 1, 250_000)
    assert read.outputs == [OutputWish("scores", classes=3)]


def test_shared_memory_is_not_offered() -> None:
    message = request(("x", "FP32", [1]))
    message.inputs[0].parameters["shared_memory_region"].string_param = "r"
    with pytest.raises(Unsupported, match="shared memory"):
        read_request(message)


def test_only_many_typed_values_are_large() -> None:
    assert is_large(typed("FP32", [LARGE + 1], fp32_contents=np.zeros(LARGE + 1).tolist()))
    assert not is_large(typed("FP32", [2], fp32_contents=[1, 2]))
    assert not is_large(request(("x", "UINT8", [LARGE + 1]), raw=[bytes(LARGE + 1)]))


def test_outputs_are_always_raw(repository: Any) -> None:
    manifest = open_bundle(repository / "fake" / "1").manifest
    texts: Array = np.empty((1, 2), np.object_)
    texts[0] = [b"0.5:1:dog", b""]
    outputs = [
        OutputTensor("scores", "FP32", np.array([[0.25, 0.5]], np.float32), binary=False),
        OutputTensor("names", "BYTES", texts, binary=False),
        OutputTensor("none", "INT64", np.zeros((0, 4), np.int64), binary=True),
    ]
    message = answer_message(manifest, "id", outputs)
    assert (message.model_name, message.model_version, message.id) == ("fake", "1", "id")
    assert [(one.name, one.datatype, list(one.shape)) for one in message.outputs] == [
        ("scores", "FP32", [1, 2]),
        ("names", "BYTES", [1, 2]),
        ("none", "INT64", [0, 4]),
    ]
    assert list(message.raw_output_contents) == [
        np.array([0.25, 0.5], "<f4").tobytes(),
        b"\x09\0\0\0000.5:1:dog\0\0\0\0",
        b"",
    ]
    assert not any(one.HasField("contents") for one in message.outputs)


def test_our_messages_leave_the_process_wide_pool_alone() -> None:
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("inference.ModelInferRequest")
