"""Arrays are held to their declared form, and batches are rows put together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic import ValidationError

from bundle.tensors import Array, TensorSpec, stack, unstack

IMAGE = TensorSpec(name="image", dtype="uint8", shape=("batch", 8, 8, 3))
ROWS = arrays.array_shapes(min_dims=1, max_dims=3, max_side=4).flatmap(
    lambda shape: st.lists(arrays.arrays(np.float32, shape, elements=st.floats(-1, 1, width=32)), min_size=1)
)


@pytest.mark.parametrize("num_rows", [0, 1, 7])
def test_an_array_that_fits_has_no_mismatch(num_rows: int) -> None:
    assert IMAGE.mismatch(np.zeros((num_rows, 8, 8, 3), np.uint8)) is None


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 8, 8, 3, 1), (1, 8, 9, 3), (8, 8, 3), ()])
def test_another_shape_is_told_with_both_shapes(shape: tuple[int, ...]) -> None:
    expected = f"tensor 'image' has shape {list(shape)}, expected ['batch', 8, 8, 3]"
    assert IMAGE.mismatch(np.zeros(shape, np.uint8)) == expected


def test_another_type_is_told_with_both_types() -> None:
    assert IMAGE.mismatch(np.zeros((1, 8, 8, 3), np.float32)) == "tensor 'image' is float32, expected uint8"


def test_a_named_axis_takes_any_size() -> None:
    tokens = TensorSpec(name="tokens", dtype="int64", shape=("batch", "length"))
    assert tokens.mismatch(np.zeros((2, 77), np.int64)) is None


@pytest.mark.parametrize("dtype", ["float64", "string", "complex64", "uint16"])
def test_a_type_that_no_engine_here_takes_is_refused(dtype: str) -> None:
    with pytest.raises(ValidationError, match="dtype"):
        TensorSpec.model_validate({"name": "x", "dtype": dtype, "shape": ["batch"]})


@given(ROWS)
@settings(derandomize=True, deadline=None, max_examples=100)
def test_a_batch_taken_apart_is_the_rows_it_was_made_of(arrays_of_rows: list[Array]) -> None:
    rows = [{"a": array, "b": array.sum(keepdims=True)} for array in arrays_of_rows]
    again = unstack(stack(rows))
    assert len(again) == len(rows)
    for got, row in zip(again, rows, strict=True):
        assert all(np.array_equal(got[name], row[name]) for name in ("a", "b"))
