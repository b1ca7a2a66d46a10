import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.errors import BadInput, Unsupported
from bundle.tensors import Array
from serving.oip.datatypes import DATATYPES
from serving.oip.parameters import Wishes
from serving.oip.request import HEADER, MAX_TENSORS, InferRequest, json_size, parse
from tests.serving.oip.bodies import binary_input, body_of, encoded_input, json_input

ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)


def parsed(document: Any, *raws: bytes) -> InferRequest:
    body, headers = body_of(document, *raws)
    return parse(body, json_size(headers.get(HEADER), len(body)))


def with_input(**changes: Any) -> dict[str, Any]:
    """A good request of one input, changed."""
    return {"inputs": [json_input("x", ROWS) | changes]}


def without(name: str) -> dict[str, Any]:
    return {"inputs": [{key: value for key, value in json_input("x", ROWS).items() if key != name}]}


def only(request: InferRequest) -> Array:
    (tensor,) = request.inputs
    return tensor.read()


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "uint16", "int32", "uint64", "int64", "float32", "float64"])
def test_json_data_nested_or_flat_are_the_tensor(dtype: str, flat: bool) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    read = only(parsed({"inputs": [json_input("x", array, flat=flat)]}))
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def test_data_of_another_nesting_are_taken_in_order_where_the_number_fits() -> None:
    assert only(parsed(with_input(data=[[[0, 1], [2, 3], [4, 5]]]))).tolist() == ROWS.tolist()


def test_texts_are_bytes() -> None:
    request = parsed({"inputs": [{"name": "t", "shape": [2, 1], "datatype": "BYTES", "data": [["Käse"], [""]]}]})
    assert only(request).tolist() == [["Käse".encode()], [b""]]


def test_a_binary_tensor_is_a_view_of_the_body() -> None:
    described, raw = binary_input("x", ROWS)
    body, _ = body_of({"inputs": [described]}, raw)
    read = only(parse(body, len(body) - len(raw)))
    np.testing.assert_array_equal(read, ROWS)
    assert np.shares_memory(read, np.frombuffer(body, np.uint8))


def test_json_and_binary_inputs_mix_in_any_order() -> None:
    first, raw_first = binary_input("a", ROWS)
    texts, raw_texts = encoded_input("c", [b"one", b"two"])
    request = parsed({"inputs": [first, json_input("b", ROWS + 1), texts]}, raw_first, raw_texts)
    assert [one.name for one in request.inputs] == ["a", "b", "c"]
    a, b, c = (one.read() for one in request.inputs)
    np.testing.assert_array_equal(a, ROWS)
    np.testing.assert_array_equal(b, ROWS + 1)
    assert c.tolist() == [b"one", b"two"]


@pytest.mark.parametrize("order", [("fixed", "bytes"), ("fixed",), ("bytes",)])
def test_a_size_that_follows_from_the_rest_may_be_left_out(order: tuple[str, ...]) -> None:
    made = {"fixed": binary_input("fixed", ROWS), "bytes": encoded_input("bytes", [b"abc"])}
    documents = [{key: value for key, value in made[name][0].items() if key != "parameters"} for name in order]
    request = parsed({"inputs": documents}, *(made[name][1] for name in order))
    for one in request.inputs:
        assert one.read().tolist() == (ROWS.tolist() if one.name == "fixed" else [b"abc"])


def test_a_size_that_does_not_follow_must_be_given() -> None:
    texts, raw_texts = encoded_input("bytes", [b"abc"])
    fixed, raw_fixed = binary_input("fixed", ROWS)
    del texts["parameters"]
    with pytest.raises(BadInput, match="input 'bytes': its size is not known"):
        parsed({"inputs": [texts, fixed]}, raw_texts, raw_fixed)


def test_the_header_may_count_the_whole_body() -> None:
    body, _ = body_of(with_input())
    np.testing.assert_array_equal(only(parse(body, json_size(str(len(body)), len(body)))), ROWS)


@pytest.mark.parametrize("given", ["-1", "", "1.5", "abc", "1e3", "+5", " 5", "٣", "9" * 20, "2147483648"])
def test_a_header_that_is_no_size_is_refused(given: str) -> None:
    with pytest.raises(BadInput, match="it must be the number of JSON bytes"):
        json_size(given, 10)


def test_a_header_beyond_the_body_is_refused() -> None:
    with pytest.raises(BadInput, match="is 11, but the whole body has 10 bytes"):
        json_size("11", 10)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "it is empty"),
        (b"{", "cannot be read"),
        (b"[]", "cannot be read"),
        (b"\xff", "cannot be read"),
        (b'{"inputs": ' + b"[" * 100_000, "cannot be read"),
        (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b', "inputs": []}', "nested too deep"),
        ({}, "inputs"),
        ({"inputs": []}, "holds no inputs"),
        ({"inputs": {}}, "cannot be read"),
        (without("name"), "name"),
        (without("shape"), "shape"),
        (without("datatype"), "datatype"),
        (without("data"), "input 'x': it has neither 'data' nor 'binary_data_size'"),
        (with_input(datatype="FP8"), "input 'x': 'FP8' is no datatype"),
        (with_input(shape=[2, -3]), "negative size"),
        (with_input(shape=[2.5, 3]), "Expected `int`"),
        (with_input(shape=["2", 3]), "Expected `int`"),
        (with_input(shape=[2**40, 2**40]), "over the limits"),
        (with_input(shape=[2**16, 2**16]), "more than 2147483647 elements"),
        (with_input(parameters={"binary_data_size": 24}), "it has 'data' and 'binary_data_size'"),
        (with_input(parameters={"binary_data_size": -1}), "whole number"),
        (with_input(parameters={"binary_data_size": 10**30}), "whole number"),
        (with_input(parameters={"binary_data_size": "24"}), "whole number"),
        (with_input(parameters={"binary_data_size": True}), "whole number"),
        (with_input(parameters={"a": {"b": 1}}), "cannot be read"),
        ({"inputs": [json_input("x", ROWS)] * 2}, "input 'x' is there more than once"),
        ({"inputs": [json_input("x", ROWS)] * (MAX_TENSORS + 1)}, "more than 256"),
        (with_input() | {"outputs": [{"name": "y"}] * 2}, "output 'y' is there more than once"),
        (with_input() | {"parameters": {"priority": -1}}, "'priority' is -1"),
        (with_input() | {"parameters": {"priority": 1.5}}, "'priority' is 1.5"),
        (with_input() | {"parameters": {"timeout": "soon"}}, "'timeout' is 'soon'"),
        (with_input() | {"parameters": {"timeout": 10**5000}}, "cannot be read|over 64 bits"),
        (with_input() | {"parameters": {"binary_data_output": 1}}, "must be true or false"),
        (with_input() | {"parameters": {"triton_anything": 1}}, "reserved"),
        (with_input() | {"parameters": {"headers": "x"}}, "reserved"),
        (with_input() | {"outputs": [{"name": "y", "parameters": {"binary_data": "no"}}]}, "true or false"),
        (with_input() | {"outputs": [{"name": "y", "parameters": {"classification": 0}}]}, "classification"),
    ],
)
def test_a_request_that_is_none_is_refused_with_the_reason(document: Any, message: str) -> None:
    head = document if isinstance(document, bytes) else _dumps(document)
    with pytest.raises(BadInput, match=message):
        parse(head, len(head))


def _dumps(document: Any) -> bytes:
    try:
        return json.dumps(document).encode()
    except ValueError:  # Python refuses to print numbers of thousands of digits
        return json.dumps(document | {"parameters": {"timeout": 123456789}}).replace("123456789", "9" * 5001).encode()


@pytest.mark.parametrize(
    ("datatype", "data", "message"),
    [
        ("FP32", [1, 2, 3, 4, 5], "data hold 5 values; shape"),
        ("FP32", [1, 2, 3, 4, 5, 6, 7], "more values than the 6"),
        ("FP32", [[1, 2], [3, 4], [5, 6]], r"nested as \[3, 2\], shape is \[2, 3\]"),
        ("FP32", [[1, 2, 3], [4, 5]], "nested alike"),
        ("FP32", [1, 2, 3, 4, 5, "6"], "Expected `float`"),
        ("FP32", [1, 2, 3, 4, 5, None], "Expected `float`"),
        ("FP32", [1, 2, 3, 4, 5, 1e39], "more than FP32 holds"),
        ("FP32", [1, 2, 3, 4, 5, True], "Expected `float`"),
        ("FP32", 1, "must be an array"),
        ("FP32", {"a": 1}, "must be an array"),
        ("FP32", "123456", "must be an array"),
        ("FP32", [1, [2], 3, 4, 5, 6], "Expected `float`"),
        ("UINT8", [1, 2, 3, 4, 5, 256], "uint8|UINT8"),
        ("UINT8", [1, 2, 3, 4, 5, -1], "uint8|UINT8"),
        ("INT64", [1, 2, 3, 4, 5, 2**63], "INT64"),
        ("INT32", [1, 2, 3, 4, 5, 1.5], "Expected `int`"),
        ("BOOL", [1, 0, 1, 0, 1, 0], "Expected `bool`"),
        ("BYTES", [1, 2, 3, 4, 5, 6], "Expected `str`"),
        ("BYTES", ["a", "b"], "data hold 2 values"),
    ],
)
def test_data_that_are_not_the_tensor_are_refused(datatype: str, data: Any, message: str) -> None:
    request = parsed(with_input(datatype=datatype, data=data))
    with pytest.raises(BadInput, match=f"input 'x': .*({message})"):
        only(request)


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_halves_of_floats_have_no_form_in_json(datatype: str) -> None:
    with pytest.raises(BadInput, match=f"{datatype} has no form in JSON; please use the binary data format"):
        parsed(with_input(datatype=datatype))


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
def test_not_a_number_in_json_is_refused_with_the_way_out(token: str) -> None:
    text = json.dumps(with_input()).replace("0.0", token).encode()
    with pytest.raises(BadInput, match="JSON has no NaN and no Infinity: send such tensors as binary"):
        parse(text, len(text))


@pytest.mark.parametrize("given", [[1, 2, 3, 4, 5, "1" * 5000], "deep"])
def test_hostile_numbers_and_depths_are_refused(given: Any) -> None:
    if given == "deep":
        text = json.dumps(with_input(data=[])).replace("[]", "[" * 200 + "]" * 200)
    else:
        text = json.dumps(with_input(data=given)).replace('"' + "1" * 5000 + '"', "1" * 5000)
    with pytest.raises(BadInput):
        only(parse(text.encode(), len(text)))


@pytest.mark.parametrize(
    ("change", "raw_change", "message"),
    [
        ({"parameters": {"binary_data_size": 20}}, b"", "binary_data_size is 20, but shape .* takes 24 bytes"),
        ({"shape": [2, 4]}, b"", "binary_data_size is 24, but shape .* takes 32 bytes"),
        ({}, b"surplus", "unexpected additional input data: 7 bytes"),
    ],
)
def test_binary_data_that_do_not_fit_are_refused(change: dict[str, Any], raw_change: bytes, message: str) -> None:
    described, raw = binary_input("x", ROWS)
    with pytest.raises(BadInput, match=message):
        parsed({"inputs": [described | change]}, raw + raw_change)


def test_binary_data_that_are_cut_off_are_refused() -> None:
    described, raw = binary_input("x", ROWS)
    with pytest.raises(BadInput, match="it takes 24 bytes of binary data; 23 are left"):
        parsed({"inputs": [described]}, raw[:-1])


def test_a_missing_header_is_suspected_where_there_is_no_binary_data() -> None:
    described, _ = binary_input("x", ROWS)
    with pytest.raises(BadInput, match=f"is the header {HEADER} missing"):
        parsed({"inputs": [described]})


def test_wishes_are_read_and_strange_parameters_left_alone() -> None:
    request = parsed(
        with_input() | {"id": "7", "parameters": {"priority": 1, "timeout": 5000, "binary_data_output": True, "my": 1}}
    )
    assert request.wishes == Wishes(1, 5000, True)
    assert request.id == "7"
    assert request.outputs is None


def test_an_empty_id_and_no_outputs_are_nothing() -> None:
    request = parsed(with_input() | {"id": "", "outputs": []})
    assert request.id == ""
    assert request.outputs is None


@pytest.mark.parametrize("parameters", [{"sequence_id": 1}, {"sequence_id": "a", "sequence_start": True}])
def test_sequences_are_not_done_here(parameters: dict[str, Any]) -> None:
    with pytest.raises(Unsupported, match="sequences are not kept here"):
        parsed(with_input() | {"parameters": parameters})


def test_a_sequence_id_of_zero_is_none() -> None:
    assert parsed(with_input() | {"parameters": {"sequence_id": 0, "sequence_start": False}}).inputs


@pytest.mark.parametrize("where", ["inputs", "outputs"])
def test_shared_memory_is_not_done_here(where: str) -> None:
    parameters = {"shared_memory_region": "r", "shared_memory_byte_size": 24}
    document = with_input(parameters=parameters) if where == "inputs" else with_input()
    outputs = [{"name": "y", "parameters": parameters}] if where == "outputs" else []
    with pytest.raises(Unsupported, match="shared memory"):
        parsed(document | {"outputs": outputs})


FRAGMENTS = [b"{", b"}", b"[", b"]", b",", b":", b'"inputs"', b'"name"', b'"x"', b'"shape"', b"2", b'"data"', b"-1"]
FRAGMENTS += [b'"datatype"', b'"FP32"', b'"BYTES"', b'"parameters"', b'"binary_data_size"', b"null", b"1e999", b"NaN"]


@st.composite
def damaged(draw: st.DrawFn) -> tuple[bytes, int]:
    """A good body of JSON and binary tensors with a few bytes changed, and a size of its JSON that may be wrong."""
    described, raw = binary_input("x", ROWS)
    texts, raw_texts = encoded_input("t", [b"one", b""])
    body, headers = body_of({"inputs": [described, json_input("y", ROWS), texts]}, raw, raw_texts)
    size, changed = int(headers[HEADER]), bytearray(body)
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(changed)))
        inserted = draw(st.one_of(st.binary(max_size=4), st.sampled_from(FRAGMENTS)))
        changed[start : start + draw(st.integers(0, 6))] = inserted
    return bytes(changed), min(len(changed), size + draw(st.sampled_from([0, 0, 0, 0, -1, 1, -40])))


@settings(max_examples=1500, deadline=2000, derandomize=True, database=None)
@given(request=st.one_of(damaged(), st.lists(st.sampled_from(FRAGMENTS), max_size=40).map(lambda f: (b"".join(f), -1))))
def test_whatever_a_body_holds_it_is_tensors_or_refused(request: tuple[bytes, int]) -> None:
    body, size = request
    try:
        tensors = parse(body, size if size >= 0 else len(body)).inputs
        arrays = [one.read() for one in tensors]
    except (BadInput, Unsupported):
        return
    for tensor, array in zip(tensors, arrays, strict=True):
        assert array.shape == tensor.shape
        assert tensor.datatype in DATATYPES.values()
