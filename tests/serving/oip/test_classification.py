import numpy as np
import pytest

from bundle.errors import BadInput
from serving.oip.classification import classify


def texts(batch: object, k: int, labels: tuple[str, ...] = (), dtype: str = "float32") -> list[list[str]]:
    return [[one.decode() for one in row] for row in classify(np.array(batch, dtype), k, labels)]


def test_the_largest_come_first_with_value_index_and_label() -> None:
    assert texts([[0.5, 2, 1]], 2, ("a", "b", "c")) == [["2.0:1:b", "1.0:2:c"]]
    assert texts([[0.5, 2, 1], [3, 2, 1]], 1) == [["2.0:1"], ["3.0:0"]]


def test_k_is_clipped_to_the_classes_there_are() -> None:
    assert texts([[1, 2]], 100) == [["2.0:1", "1.0:0"]]


def test_equal_values_keep_their_order_and_what_is_no_number_goes_last() -> None:
    assert texts([[1, np.nan, 1, 2]], 4) == [["2.0:3", "1.0:0", "1.0:2", "nan:1"]]


def test_a_value_can_be_read_back_exactly() -> None:
    values = np.random.default_rng(0).random((1, 50), np.float32) * 1e-6
    read = [float(text.split(":")[0]) for text in texts(values, 50)[0]]
    assert [np.float32(one) for one in read] == sorted(values[0].tolist(), reverse=True)


@pytest.mark.parametrize(("dtype", "values"), [("int64", [-(2**63), 2**63 - 1, 0]), ("uint8", [0, 255, 7])])
def test_whole_numbers_of_any_size_are_ordered(dtype: str, values: list[int]) -> None:
    ordered = [int(text.split(":")[0]) for text in texts([values], 3, dtype=dtype)[0]]
    assert ordered == sorted(values, reverse=True)


def test_a_row_of_several_dimensions_counts_through() -> None:
    assert texts([[[1, 2], [3, 0]]], 1) == [["3.0:2"]]
    assert texts([0.5, 0.25], 3) == [["0.5:0"], ["0.25:0"]]


def test_less_than_one_class_is_refused() -> None:
    with pytest.raises(BadInput, match="classification is 0"):
        classify(np.zeros((1, 2)), 0)
