"""Limits: every task has them, none is looser than it says, and int8 is never the stricter one."""

import pytest

pytest.importorskip("torch", reason="export needs torch")

from export.tolerance import TOLERANCES, tolerance


def test_fp32_allows_no_answer_to_change() -> None:
    limits = tolerance("image-classification", "fp32")
    assert limits.disagreement_share == 0.0
    assert limits.atol <= 1e-5


def test_int8_may_lose_half_a_point_at_most() -> None:
    limits = tolerance("image-classification", "int8")
    assert limits.max_metric_drop == 0.005
    assert limits.disagreement_share <= 0.01


@pytest.mark.parametrize("task", TOLERANCES)
def test_int8_is_allowed_at_least_what_fp32_is(task: str) -> None:
    fp32, int8 = (tolerance(task, precision).model_dump() for precision in ("fp32", "int8"))
    assert [name for name in fp32 if not 0 <= fp32[name] <= int8[name]] == []


@pytest.mark.parametrize("task", TOLERANCES)
def test_a_row_may_hardly_depend_on_its_company(task: str) -> None:
    assert tolerance(task, "fp32").batch_atol <= tolerance(task, "fp32").random_atol
