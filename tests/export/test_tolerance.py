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


@pytest.mark.parametrize("precision", ["fp16", "int8", "int8-trt"])
@pytest.mark.parametrize("task", TOLERANCES)
def test_fewer_bits_are_allowed_at_least_what_fp32_is(task: str, precision: str) -> None:
    fp32, fewer = (tolerance(task, one).model_dump() for one in ("fp32", precision))
    assert [name for name in fp32 if not 0 <= fp32[name] <= fewer[name]] == []


@pytest.mark.parametrize("task", TOLERANCES)
def test_fp16_is_nearer_than_int8_and_costs_a_thousandth_at_most(task: str) -> None:
    fp16, int8 = (tolerance(task, precision) for precision in ("fp16", "int8"))
    assert fp16.atol < int8.atol
    assert fp16.random_atol < int8.random_atol
    assert fp16.max_metric_drop <= 0.001


@pytest.mark.parametrize("task", TOLERANCES)
def test_int8_in_tensorrt_differs_from_int8_only_in_what_company_may_change(task: str) -> None:
    int8, trt = (tolerance(task, precision).model_dump() for precision in ("int8", "int8-trt"))
    assert {name for name in int8 if int8[name] != trt[name]} == {"batch_atol"}


@pytest.mark.parametrize("task", TOLERANCES)
def test_a_row_may_hardly_depend_on_its_company(task: str) -> None:
    assert tolerance(task, "fp32").batch_atol <= tolerance(task, "fp32").random_atol
