import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.errors import BadInput
from bundle.tensors import TensorSpec
from serving.oip.datatypes import (
    DATATYPES,
    MAX_BYTES,
    array_from_bytes,
    bytes_from_array,
    count_bytes,
    count_elements,
    datatype_of,
    join_elements,
    name_of,
    split_elements,
)

NUMERIC = [name for name in DATATYPES if name not in ("BYTES", "BF16")]


@pytest.mark.parametrize("name", NUMERIC)
def test_a_tensor_survives_the_wire(name: str) -> None:
    array = np.arange(12).reshape(2, 2, 3).astype(DATATYPES[name].wire)
    raw = bytes(bytes_from_array(array, name))
    assert raw == array.tobytes()
    back = array_from_bytes(DATATYPES[name], array.shape, raw)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("name", [name for name in NUMERIC if name != "BOOL"])
def test_numbers_are_read_where_they_lie(name: str) -> None:
    body = bytes(range(101))
    view = memoryview(body)[5:]  # at any address: a body does not align its tensors
    array = array_from_bytes(DATATYPES[name], [96 // DATATYPES[name].itemsize], view)
    assert np.shares_memory(array, np.frombuffer(body, np.uint8))
    assert not array.flags.writeable


def test_a_transposed_array_goes_out_row_by_row() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert bytes(bytes_from_array(array, "FP32")) == np.ascontiguousarray(array).tobytes()


def test_any_byte_but_zero_is_true() -> None:
    array = array_from_bytes(DATATYPES["BOOL"], [4], bytes([0, 1, 2, 255]))
    assert array.tolist() == [False, True, True, True]
    assert array.sum() == 3


def test_bf16_is_the_upper_half_of_a_float32() -> None:
    values = np.array([1.5, -2.0, 0.0, np.inf, np.nan, 3.140625], np.float32)
    raw = bytes(bytes_from_array(values, "BF16"))
    assert raw == b"".join(one.tobytes()[2:] for one in values)
    back = array_from_bytes(DATATYPES["BF16"], [6], raw)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, values)


@pytest.mark.parametrize("elements", [[], [b""], [b"a", b"", b"xyz"], ["Käse 猫".encode(), bytes(300)]])
def test_bytes_elements_survive_the_wire(elements: list[bytes]) -> None:
    raw = join_elements(elements)
    assert split_elements(raw, len(elements)) == elements
    array = array_from_bytes(DATATYPES["BYTES"], [len(elements)], raw)
    assert array.tolist() == elements
    assert bytes(bytes_from_array(array, "BYTES")) == raw


@pytest.mark.parametrize(
    ("raw", "count", "message"),
    [
        (b"", 1, "cannot hold 1 BYTES"),
        (b"\x01\0\0", 1, "cannot hold 1 BYTES"),
        (b"\x02\0\0\0a", 1, "element 0 claims 2 bytes; only 1 are left"),
        (b"\xff\xff\xff\xffa", 1, "element 0 claims 4294967295 bytes"),
        (b"\x04\0\0\0abcd", 2, "element 1 of 2 is missing"),
        (b"\x01\0\0\0ab", 1, "unexpected additional input data: 1 bytes"),
        (b"a", 0, "unexpected additional input data: 1 bytes"),
        (b"", MAX_BYTES, "cannot hold"),
    ],
)
def test_damaged_bytes_elements_are_refused(raw: bytes, count: int, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        split_elements(raw, count)


@pytest.mark.parametrize(
    "shape",
    [[-1], [2, -1], [2**31], [2**16, 2**16], [10**5000], [0, 2**31], [1] * 33, [2**30, 2**30, 0], [-(10**5000)]],
)
def test_shapes_over_the_limits_are_refused(shape: list[int]) -> None:
    if shape == [2**30, 2**30, 0]:
        assert count_elements(shape) == 0  # nothing, however large its other sizes are
        return
    with pytest.raises(BadInput):
        count_elements(shape)


def test_bytes_are_counted_beside_elements() -> None:
    assert count_bytes(DATATYPES["FP64"], [2**20]) == 2**23
    with pytest.raises(BadInput, match="takes more than"):
        count_bytes(DATATYPES["FP64"], [2**30])


def test_a_scalar_has_one_element() -> None:
    assert array_from_bytes(DATATYPES["INT32"], [], b"\x07\0\0\0").item() == 7


def test_the_wrong_size_is_told_with_the_right_one() -> None:
    with pytest.raises(BadInput, match=r"5 bytes for shape \[2\] of FP32, which takes 8 \(4 an element\)"):
        array_from_bytes(DATATYPES["FP32"], [2], b"12345")


def test_an_unknown_datatype_is_told_with_those_there_are() -> None:
    with pytest.raises(BadInput, match="'FP8' is no datatype; there are BOOL"):
        datatype_of("FP8")


@pytest.mark.parametrize("dtype", TensorSpec.model_fields["dtype"].annotation.__args__)  # type: ignore[union-attr]
def test_every_dtype_of_a_manifest_has_a_name(dtype: str) -> None:
    assert DATATYPES[name_of(dtype)].wire == np.dtype(dtype)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    name=st.sampled_from(sorted(DATATYPES)), shape=st.lists(st.integers(0, 5), max_size=4), raw=st.binary(max_size=300)
)
def test_whatever_the_bytes_are_they_are_a_tensor_or_refused(name: str, shape: list[int], raw: bytes) -> None:
    try:
        array = array_from_bytes(DATATYPES[name], shape, raw)
    except BadInput:
        return
    assert array.shape == tuple(shape)
    if name != "BOOL":
        assert bytes(bytes_from_array(array, name)) == raw
