"""Kept columns: what keeps its type, what becomes text, and that no value is lost on the way."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from scoring.kept import kept_text, kept_type, kept_values

MOMENT = datetime(2026, 11, 21, 20, 0, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("column", "kind", "values"),
    [
        (pa.array([1, None], pa.int8()), pa.int8(), [1, None]),
        (pa.array([2**63], pa.uint64()), pa.uint64(), [2**63]),
        (pa.array([1.5, None], pa.float16()), pa.float32(), [1.5, None]),
        (pa.array([0.1]), pa.float64(), [0.1]),
        (pa.array([True, None]), pa.bool_(), [True, None]),
        (pa.array(["ü", None], pa.large_string()), pa.string(), ["ü", None]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), pa.string(), ["a", "b", "a"]),
        (pa.array([b"\xff"], pa.large_binary()), pa.binary(), [b"\xff"]),
        (pa.array([b"ab"], pa.binary(2)), pa.binary(), [b"ab"]),
        (pa.array([date(2026, 1, 2)]), pa.date32(), [date(2026, 1, 2)]),
        (pa.array([MOMENT], pa.timestamp("ns", "UTC")), pa.string(), ["2026-11-21 20:00:00.123456000Z"]),
        (pa.array([Decimal("1.50")]), pa.string(), ["1.50"]),
        (pa.array([time(1, 2, 3)]), pa.string(), ["01:02:03.000000"]),
        (pa.array([timedelta(seconds=90), None]), pa.string(), ["90000000", None]),
        (pa.array([pa.MonthDayNano([1, 2, 3])]), pa.string(), ["MonthDayNano(months=1, days=2, nanoseconds=3)"]),
        (pa.array([[1, None], None]), pa.string(), ["[1,null]", None]),
        (pa.array([{"a": Decimal("1.5"), "b": b"x"}]), pa.string(), ['{"a":"1.5","b":"eA=="}']),
        (pa.array([None, None]), pa.string(), [None, None]),
    ],
    ids=str,
)
def test_types_and_values(column: pa.Array, kind: pa.DataType, values: list[Any]) -> None:
    assert kept_type(column.type) == kind
    assert kept_values(column) == values
    assert pa.array(values, kind).type == kind


def test_without_types_all_is_text() -> None:
    assert kept_type(None) == pa.string()
    given = [None, "", "a\udcff", 3, 0.5, True, {"a": [1]}]
    assert [kept_text(value) for value in given] == [None, "", "a�", "3", "0.5", "true", '{"a":[1]}']
