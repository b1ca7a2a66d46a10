"""The text of a series becomes its numbers, or the caller is told which value is wrong."""

import json
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bundle.errors import BadInput, InputTooLarge
from bundle.preprocess import Limits, Series, SeriesSource
from bundle.preprocess.series import prepare_series
from bundle.tensors import Array, TensorSpec

LAW = settings(derandomize=True, deadline=None, max_examples=300)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
SERIES = st.lists(FLOATS, min_size=1, max_size=20)
GAPS = st.sampled_from([",", ", ", " ", "\n", "\r\n", ",\n", "\t", " , "])
SIXTEEN_MIB = 16 * 2**20
QUICK_S = 1.5  # the largest input that is read at all; a slow parser takes minutes, a busy machine doubles 0.1 s


def read(raw: bytes | str, num_steps: int = 3) -> Array:
    content = raw.encode() if isinstance(raw, str) else raw
    return prepare_series(Series(num_steps=num_steps), content, Limits()).tensors["series"]


def refusal(raw: bytes | str, num_steps: int = 3) -> str:
    with pytest.raises(BadInput) as caught:
        read(raw, num_steps)
    return str(caught.value)


@given(SERIES, st.data())
@LAW
def test_numbers_come_back_whatever_stands_between_them(values: list[float], data: st.DataObject) -> None:
    text = "".join(repr(value) + data.draw(GAPS) for value in values[:-1]) + repr(values[-1])
    np.testing.assert_array_equal(read(text, len(values)), np.array(values, np.float32))


@given(SERIES)
@LAW
def test_a_json_array_is_the_same_series(values: list[float]) -> None:
    np.testing.assert_array_equal(read(json.dumps(values), len(values)), np.array(values, np.float32))


@given(st.binary(max_size=60) | st.text(alphabet="0123456789.,-+eE []naif\n", max_size=60).map(str.encode))
@LAW
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        series = read(raw)
    except BadInput:
        return
    assert (series.shape, series.dtype, np.isfinite(series).all()) == ((3,), np.float32, True)


@given(
    st.lists(FLOATS, min_size=1, max_size=20),
    st.integers(0, 19),
    st.sampled_from(["nan", "x", "null", "1e999", "-inf"]),
)
@LAW
def test_a_refusal_names_the_value(values: list[float], place: int, bad: str) -> None:
    texts = [*map(repr, values)]
    texts[place % len(texts)] = bad
    assert refusal(",".join(texts), len(texts)).startswith(f"value {place % len(texts)} is '{bad}'")


def test_the_row_and_its_source() -> None:
    prepared = prepare_series(Series(num_steps=2), b"1.5,-2", Limits())
    assert prepared.source == SeriesSource(num_steps=2)
    assert (prepared.tensors["series"].dtype, prepared.tensors["series"].tolist()) == (np.float32, [1.5, -2.0])


def test_the_specification_of_the_input() -> None:
    spec = Series(num_steps=140)
    assert spec.input_specs() == (TensorSpec(name="series", dtype="float32", shape=("batch", 140)),)
    assert (spec.input_atol, spec.assets()) == (0, ())


@pytest.mark.parametrize("num_steps", [0, -1, 1_000_001])
def test_lengths_that_mean_nothing_are_refused(num_steps: int) -> None:
    with pytest.raises(ValidationError):
        Series(num_steps=num_steps)


@pytest.mark.parametrize("raw", [b"\xef\xbb\xbf1,2,3", b"  1 2 3\r\n", b"[1,2,3]\n", b"+1,2.,3E0", b"1,2,.3e1"])
def test_ways_to_write_one_two_three(raw: bytes) -> None:
    assert read(raw).tolist() == [1, 2, 3]


def test_tiny_numbers_become_zero() -> None:
    assert read("1e-50,-1e-50,1e-9999").tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "the series is empty (0 bytes without a number)"),
        (b" \n", "the series is empty (2 bytes"),
        (b"[]", "the series is empty"),
        (b"1,2", "the series has 2 values; this model reads exactly 3"),
        (b"1", "the series has 1 value; this model reads exactly 3"),
        (b"1,2,3,4", "the series has 4 values; this model reads exactly 3"),
        (b"1,,3", "value 1 is missing"),
        (b",1,2", "value 0 is missing"),
        (b"1,2,", "value 2 is missing"),
        (b"1 ,\n, 2", "value 1 is missing"),
        (b"1,NaN,3", "value 1 is 'NaN'; every value must be a finite number"),
        (b"1,2,-Infinity", "value 2 is '-Infinity'; every value must be a finite number"),
        (b"1,2,3.5e38", "value 2 is '3.5e38', more than float32 holds"),
        (b"[1,null,3]", "value 1 is 'null', which is not a number"),
        (b'["1",2,3]', "value 0 is '\"1\"', which is not a number"),
        (b"[[1,2,3]]", "value 0 is '[1': an array inside the array"),
        (b"[1,[2],3]", "value 1 is '[2]': an array inside the array"),
        (b"[1,2,3", "begins with [ but does not end with ]"),
        (b"1,2,3]", "ends with ] without a ["),
        (b"\xff\xfe1\x00", "the series is not UTF-8 text: invalid start byte at byte 0"),
        (b"t0,t1,t2", "value 0 is 't0', which is not a number"),
        (b"1_0,2,3", "value 0 is '1_0', which is not a number"),
        (b"0x10,2,3", "value 0 is '0x10', which is not a number"),
        ("\uff11,2,3".encode(), "value 0 is '\uff11', which is not a number"),
        (b"1,2," + b"3" * 101, "value 2 is '" + "3" * 24 + "...' of 101 bytes; a number has at most 100"),
    ],
)
def test_what_is_no_series_is_told(raw: bytes, told: str) -> None:
    assert told in refusal(raw)


def test_more_bytes_than_allowed_are_not_looked_at() -> None:
    with pytest.raises(InputTooLarge, match="the series has 8 bytes; at most 7 are read"):
        prepare_series(Series(num_steps=4), b"1,2,3,xx", Limits(max_bytes=7))


HOSTILE = {
    "commas": b"," * SIXTEEN_MIB,
    "numbers": b"1," * (SIXTEEN_MIB // 2 - 1) + b"1",
    "one number": b"1" * SIXTEEN_MIB,
    "blanks": b" " * SIXTEEN_MIB,
    "commas and blanks": b"1" + b", " * (SIXTEEN_MIB // 2 - 2),
    "brackets": b"[" * SIXTEEN_MIB,
    "a comma before blanks": b"1," + b" " * (SIXTEEN_MIB - 4) + b"x,",
    "zero bytes": b"\0" * SIXTEEN_MIB,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_input_is_refused_quickly(name: str) -> None:
    start = time.monotonic()
    refusal(HOSTILE[name], 140)
    assert time.monotonic() - start < QUICK_S


def test_a_million_values_are_read() -> None:
    values = read(b"0.25," * 999_999 + b"0.25", 1_000_000)
    assert math.isclose(float(values.sum()), 250_000)
